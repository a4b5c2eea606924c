/* tests/consumer/main.c -- uses the C interface of an installed omniconv. */
#include <stdio.h>
#include <string.h>

#include "omniconv/omniconv.h"

int main(void) {
  printf("omniconv %s from C\n", omniconv_version());
  return strcmp(omniconv_version(), OMNICONV_VERSION) == 0 ? 0 : 1;
}
