// bessel/tables.hpp -- constants of the Bessel kernels; written by make_tables.py, which says what they are
#pragma once

#if defined(__CUDACC__)
#define OMNICONV_BESSEL_TABLE static __device__ constexpr
#else
#define OMNICONV_BESSEL_TABLE inline constexpr
#endif

namespace omniconv::bessel {

inline constexpr int kUniformTerms = 28;
// D_k(p), k = 1, 2, ...: k + 1 coefficients each, that of p^j at k (k + 1) / 2 - 1 + j
OMNICONV_BESSEL_TABLE double kUniform[] = {
    0x1.0000000000000p-3,    -0x1.aaaaaaaaaaaabp-3,   0x1.0000000000000p-4,    -0x1.8000000000000p-2,
    0x1.4000000000000p-2,    0x1.0aaaaaaaaaaabp-4,    -0x1.a8ccccccccccdp-1,   0x1.ba00000000000p+0,
    -0x1.eb1c71c71c71cp-1,   0x1.a000000000000p-4,    -0x1.1c00000000000p+1,   0x1.0980000000000p+3,
    -0x1.5300000000000p+3,   0x1.1a80000000000p+2,    0x1.ad33333333333p-3,    -0x1.beddb6db6db6ep+2,
    0x1.44578e38e38e4p+5,    -0x1.5ec6000000000p+6,   0x1.4389000000000p+6,    -0x1.af61555555555p+4,
    0x1.12aaaaaaaaaabp-1,    -0x1.9500000000000p+4,   0x1.a340000000000p+7,    -0x1.50d0000000000p+9,
    0x1.fed2000000000p+9,    -0x1.70e8000000000p+9,   0x1.99e5555555555p+7,    0x1.a358492492492p+0,
    -0x1.9fe7580000000p+6,   0x1.2235158000000p+10,   -0x1.4143616000000p+12,  0x1.614546a99999ap+13,
    -0x1.9c06239000000p+13,  0x1.e90e642000000p+12,   -0x1.d1c4901e79e7ap+10,  0x1.73d4000000000p+2,
    -0x1.dd9d800000000p+8,   0x1.af846c0000000p+12,   -0x1.3934e50000000p+15,  0x1.d11ff3e000000p+16,
    -0x1.8358e74000000p+17,  0x1.6eccf36000000p+17,   -0x1.718b098000000p+16,  0x1.33f3dd4000000p+14,
    0x1.779a1f8e38e39p+4,    -0x1.2f693baae8ba3p+11,  0x1.584b925600000p+15,   -0x1.3c48e43595555p+18,
    0x1.2ec3ce1d48000p+20,   -0x1.500b29b0fc000p+21,  0x1.c1a8c91d0d555p+21,   -0x1.664cf26968000p+21,
    0x1.39929c8f5c000p+20,   -0x1.d08d59b7f097bp+17,  0x1.a9df0cccccccdp+6,    -0x1.a6b7f70000000p+13,
    0x1.2620c18400000p+18,   -0x1.4cf134bc00000p+21,  0x1.8d88cb9840000p+23,   -0x1.19295f64b999ap+25,
    0x1.f0c429e5d0000p+25,   -0x1.1583d58060000p+26,  0x1.7dae6f42a8000p+25,   -0x1.27435711e0000p+24,
    0x1.89af1ec280000p+21,   0x1.0bd1fc8b1745dp+9,    -0x1.407e90d82e762p+16,  0x1.0c43c6016039ap+21,
    -0x1.6e64da48bea40p+24,  0x1.0a246965850b0p+27,   -0x1.d0d79cc455c56p+28,  0x1.0382f56529adap+30,
    -0x1.7c334ce2b51a8p+30,  0x1.6c71e6f696dfcp+30,   -0x1.b8cf4bfabd69ep+29,  0x1.318ac26d38404p+28,
    -0x1.725a9e17c80fdp+25,  0x1.7217ac5555555p+11,   -0x1.06c681b000000p+19,  0x1.046eb88980000p+24,
    -0x1.a5efaec20eaabp+27,  0x1.6db88d3ce8e00p+30,   -0x1.811f4fb3a1800p+32,  0x1.0782a608cb700p+34,
    -0x1.e4e387e0aff00p+34,  0x1.2f1a0c97e7750p+35,   -0x1.fca603ac73000p+34,  0x1.12802a6eb9b00p+34,
    -0x1.58b0bace6a200p+32,  0x1.7efd415720955p+29,   0x1.16b51e66c789ep+14,   -0x1.cf6a1ee88fdc0p+21,
    0x1.0c4eaa0e4e02ep+27,   -0x1.fc7170a6881b8p+30,  0x1.02d6797168f04p+34,   -0x1.42a5623638572p+36,
    0x1.086bf0482528cp+38,   -0x1.2878855ed1d02p+39,  0x1.cf3f1ff1223fbp+39,   -0x1.f8c944b7e2182p+39,
    0x1.7888b002c8a67p+39,   -0x1.6ee4a13bde214p+38,  0x1.a50c9f89bbe53p+36,   -0x1.afd86f1dad055p+33,
    0x1.c6733f2524925p+16,   -0x1.b55708cb18000p+24,  0x1.2481aa6d85100p+30,   -0x1.405a4b5fd9dc0p+34,
    0x1.7a318c40475eep+37,   -0x1.12e3c85439fb2p+40,  0x1.090df9a529618p+42,   -0x1.621a72ebe299ep+43,
    0x1.4f9d4c6045d6cp+44,   -0x1.c7461c55bcf71p+44,  0x1.b77cd6cbf55ccp+44,   -0x1.27082c6510086p+44,
    0x1.05ff2cf31a19ep+43,   -0x1.14d6e8b5577cfp+41,  0x1.07a81a9453526p+38,   0x1.8ecc3af33ab37p+19,
    -0x1.b7ddfea8df70ep+27,  0x1.508ad70f9ec4cp+33,   -0x1.a5bdf6e1d62bap+37,  0x1.1d828342a6d42p+41,
    -0x1.de1c9d341f41bp+43,  0x1.0b53c5717ca74p+46,   -0x1.a22fbc84af322p+47,  0x1.d64f2fac42691p+48,
    -0x1.8192891b1fd0ep+49,  0x1.cddab6eca140ap+49,   -0x1.9013438b6291ep+49,  0x1.e8419d77aaaecp+48,
    -0x1.8e464206ff0d0p+47,  0x1.85eef438946a1p+45,   -0x1.5a9b83c083ec8p+42,  0x1.76cdfb7430a00p+22,
    -0x1.d5ba7579af960p+30,  0x1.979fdc615e1b5p+36,   -0x1.21b2880a7c32ap+41,  0x1.bda8d88fa584ep+44,
    -0x1.a96c942f1e13ap+47,  0x1.109ff73f21f6dp+50,   -0x1.ec6fc3d378ac3p+51,  0x1.42fe8770cef1fp+53,
    -0x1.3924af248064cp+54,  0x1.c4021e99a2d94p+54,   -0x1.e48976af43badp+54,  0x1.7c95772f17ce2p+54,
    -0x1.a9b0f8f19b707p+53,  0x1.4115c4e31ae13p+52,   -0x1.24dae75a9dbebp+50,  0x1.e817819706e88p+46,
    0x1.779dae2b8512fp+25,   -0x1.096849cad3218p+34,  0x1.03467388be396p+40,   -0x1.9ed02adb6f9fap+44,
    0x1.6798c84ae389cp+48,   -0x1.83ea0f2482e5ep+51,  0x1.1a182abf82ef9p+54,   -0x1.22d0737ed6f87p+56,
    0x1.b6eeaa7281c2ep+57,   -0x1.eecd20aeeb92bp+58,  0x1.a51d35c8b6fccp+59,   -0x1.0f4c576b2c35dp+60,
    0x1.071816aa0b665p+60,   -0x1.79ff6f7c9a738p+59,  0x1.8633798ce9402p+58,   -0x1.11b2724baf136p+57,
    0x1.d34c9cc3dbbb3p+54,   -0x1.6e825cd5d983cp+51,  0x1.8fd98a0f6ff4cp+28,   -0x1.3c6e6343709d1p+37,
    0x1.59ad4c2b9e474p+43,   -0x1.3526944ff1ad0p+48,  0x1.2be838c017c85p+52,   -0x1.6ad066f7823dap+55,
    0x1.28e088cdf16ffp+58,   -0x1.5a00b2235cb69p+60,  0x1.29113375175d9p+62,   -0x1.8028844835591p+63,
    0x1.7b26730bc1e68p+64,   -0x1.1f59f470139bap+65,  0x1.4e37a41686e0bp+65,   -0x1.27d6c33c71821p+65,
    0x1.878f1fbfe16c1p+64,   -0x1.7740dab9f509cp+63,  0x1.ebf47525665f4p+61,   -0x1.8ab32712759fbp+59,
    0x1.245ec79be559ep+56,   0x1.c296336955c7fp+31,   -0x1.8cf517e04c414p+40,  0x1.e20dfd49a1c8ep+46,
    -0x1.df17e95b3d44bp+51,  0x1.026d40f531ce7p+56,   -0x1.5c428155e1ee9p+59,  0x1.3e4e94d8bd982p+62,
    -0x1.9ff8f4b501a3bp+64,  0x1.9282294995a19p+66,   -0x1.27455725bdd80p+68,  0x1.4d7930c915843p+69,
    -0x1.246ceb093db8bp+70,  0x1.8f4b7455809e3p+70,   -0x1.a71caf31eb0fbp+70,  0x1.586d0937fa832p+70,
    -0x1.a68bddaadcfb3p+69,  0x1.79e083f2a0247p+68,   -0x1.d0f259df2bb2cp+66,  0x1.5fdb92f8fbad3p+64,
    -0x1.edd5dbc041cabp+60,  0x1.0befc01675689p+35,   -0x1.0558999b74693p+44,  0x1.5eebe2a7cb61fp+50,
    -0x1.817e3972b2b1ap+55,  0x1.cbe83c9f77defp+59,   -0x1.572a8e93fbacfp+63,  0x1.5c1b86f5a8197p+66,
    -0x1.fa7c6ae97df17p+68,  0x1.11f883a150b02p+71,   -0x1.c3d75e494d676p+72,  0x1.20cce24e44583p+74,
    -0x1.212dc24f2c047p+75,  0x1.c7fcd37efb12bp+75,   -0x1.1b1f55da084a1p+76,  0x1.13727c0b626d6p+76,
    -0x1.9f09ae2a74640p+75,  0x1.da7756a1e0bd8p+74,   -0x1.8db5a89e7e234p+73,  0x1.cd02f8a841ae0p+71,
    -0x1.4a24204e8c8e5p+69,  0x1.b8302b1366132p+65,   0x1.4f5ee683b6432p+38,   -0x1.6867bc34d696fp+47,
    0x1.0a41b912a5a22p+54,   -0x1.41b8be6a589ffp+59,  0x1.a658021420941p+63,   -0x1.5b24f3003b8b0p+67,
    0x1.849f11ac640fdp+70,   -0x1.38d2106e86b47p+73,  0x1.77c405dc8864ep+75,   -0x1.59978314993ebp+77,
    0x1.ef8205ff03a73p+78,   -0x1.183b276a2e283p+80,  0x1.f7a34cfa05265p+80,   -0x1.6881d268adb99p+81,
    0x1.9a62568181ab9p+81,   -0x1.70fbd43bfae52p+81,  0x1.02b14aae88fe0p+81,   -0x1.14d9964641d6ep+80,
    0x1.b4bd45738ba82p+78,   -0x1.de8a29eb27b43p+76,  0x1.4539af04c3d0fp+74,   -0x1.9cfc0af1bbb40p+70,
    0x1.b8b5373847c3dp+41,   -0x1.03bbd4ab2deadp+51,  0x1.a4723e395987cp+57,   -0x1.162d69cd0fdfbp+63,
    0x1.90044e0da89bap+67,   -0x1.687a5a9e41a0ap+71,  0x1.bb1ce502d3894p+74,   -0x1.888330e205a79p+77,
    0x1.042f2a2deee0bp+80,   -0x1.09154894cc851p+82,  0x1.a703f8222d110p+83,   -0x1.0bd1642672f23p+85,
    0x1.0f61b2c8f8e9dp+86,   -0x1.ba1a6761cadbap+86,  0x1.21aaef476ce6fp+87,   -0x1.30522de56a6e6p+87,
    0x1.fc9ad7c1476edp+86,   -0x1.4d69a47e39537p+86,  0x1.4f62dbbdf1141p+85,   -0x1.f39878eceda91p+83,
    0x1.037fc878a95adp+82,   -0x1.4f9d58ce66310p+79,  0x1.96ce3d19360cdp+75,   0x1.2f51eced6693fp+45,
    -0x1.868db073c5906p+54,  0x1.58efd6ee21f55p+61,   -0x1.f1dac4297e222p+66,  0x1.867fc33fc0c10p+71,
    -0x1.802b998989bb8p+75,  0x1.021945b225b23p+79,   -0x1.f4bdadebe8e7cp+81,  0x1.6c6408199f3b6p+84,
    -0x1.98d8a1c0cff93p+86,  0x1.68a970e88abe2p+88,   -0x1.fb5c0a168ea83p+89,  0x1.1f4ac97787fa6p+91,
    -0x1.0779e7d5dfec3p+92,  0x1.88546156aa25ap+92,   -0x1.d9d9fd5d1d3f0p+92,  0x1.ce1c085bcaf79p+92,
    -0x1.68a7c149a258dp+92,  0x1.bbfa8223511fap+91,   -0x1.a54b1fe170b7ep+90,  0x1.2936df6143f80p+89,
    -0x1.25855b8eef726p+87,  0x1.6a0e4540b8243p+84,   -0x1.a3c657b6a18e2p+80,  0x1.b475b4e7428d0p+48,
    -0x1.31ce2abd632e9p+58,  0x1.25a4edd7fc353p+65,   -0x1.cc971ad8df979p+70,  0x1.88a560763aff7p+75,
    -0x1.a41319708835bp+79,  0x1.333caf5c2405bp+83,   -0x1.44f6e158e0f2ep+86,  0x1.02620c80b3730p+89,
    -0x1.3d9b80b7d7896p+91,  0x1.33f85ca9de935p+93,   -0x1.de296eaf9b99ap+94,  0x1.2c549bb64d8c8p+96,
    -0x1.336247a69b162p+97,  0x1.0152b3c596e2ap+98,   -0x1.60b7d64fb5c47p+98,  0x1.8afc4efac465bp+98,
    -0x1.675dc27730fbdp+98,  0x1.0712d29d714ddp+98,   -0x1.3133c93814451p+97,  0x1.121153aa06f6ep+96,
    -0x1.6f4d34f9b7e2ap+94,  0x1.59ad94ff7565dp+92,   -0x1.978a28aa099a0p+89,  0x1.c4d26612438ebp+85,
    0x1.47a533f6de60ap+52,   -0x1.f1f66e6471487p+61,  0x1.030f2ff79ef09p+69,   -0x1.b81c613be2fb6p+74,
    0x1.96613c9a59b87p+79,   -0x1.d72268ece1e91p+83,  0x1.75bd6e70d1e39p+87,   -0x1.ad53d75330772p+90,
    0x1.7368a3d89612ap+93,   -0x1.f1dc3c82ba176p+95,  0x1.07f8bae2885c9p+98,   -0x1.c1c59e13b737dp+99,
    0x1.375344a461904p+101,  -0x1.60f2397f37d78p+102, 0x1.49503c79ea4f7p+103,  -0x1.faefff1f989f1p+103,
    0x1.41c5ac3d6f4a0p+104,  -0x1.4fd077fc212c1p+104, 0x1.1e4c850008dbep+104,  -0x1.8aaa14c8710f0p+103,
    0x1.b0eb36ab40427p+102,  -0x1.70f352606024ep+101, 0x1.d6d722e58ff82p+99,   -0x1.a7378a76118b8p+97,
    0x1.ddd443d8d5221p+94,   -0x1.fdaf374db0246p+90,  0x1.003055d0feb44p+56,   -0x1.a4f5de1f9897bp+65,
    0x1.d921a8b61776cp+72,   -0x1.b1f2de04c66c9p+78,  0x1.b0a3da0799462p+83,   -0x1.0ee398e7457f4p+88,
    0x1.d093a176848fdp+91,   -0x1.20c572d8c9b88p+95,  0x1.0ec4352dc1dbbp+98,   -0x1.8a2b91485bbfep+100,
    0x1.c70c85c279137p+102,  -0x1.a74d3951e0dddp+104, 0x1.411554d087427p+106,  -0x1.909e9a9f259d4p+107,
    0x1.9d882c028620cp+108,  -0x1.6258864fbf20cp+109, 0x1.f8a348362df98p+109,  -0x1.2a37ab653912ep+110,
    0x1.235d5425c53f3p+110,  -0x1.d35879edb3a1bp+109, 0x1.304fd34426992p+109,  -0x1.3c8d03cfa2e6bp+108,
    0x1.00b21aa777ad5p+107,  -0x1.38a5a510c9094p+105, 0x1.0cf16f816e7d5p+103,  -0x1.2350489b397e7p+100,
    0x1.2ac87efb1a25dp+96,   0x1.a0a16e6f97809p+59,   -0x1.70fe94a96ea2ap+69,  0x1.beb494ed6d1bcp+76,
    -0x1.b91ed4956993ep+82,  0x1.d97b90cc7d6f0p+87,   -0x1.3f4521a7a89aap+92,  0x1.2706ed519e828p+96,
    -0x1.8b9fc4505ef91p+99,  0x1.90ae0a45e2e8fp+102,  -0x1.3b8d9ab9c75b1p+105, 0x1.8afc7306917b1p+107,
    -0x1.8f6a5662a0fecp+109, 0x1.4a5b87ce5dae2p+111,  -0x1.c31ec5738b99dp+112, 0x1.ffe384d5c7be4p+113,
    -0x1.e4b81a98d8bc0p+114, 0x1.7fdadc05fa92dp+115,  -0x1.fc760a5fd3980p+115, 0x1.190a34e683f8dp+116,
    -0x1.0213bbe5f33afp+116, 0x1.86c074681a845p+115,  -0x1.e2326ab8e9477p+114, 0x1.dcebdfb66d71ap+113,
    -0x1.70da22052b392p+112, 0x1.ada7a040d5e2ap+110,  -0x1.625c4155fd6cep+108, 0x1.70da659f4b8cbp+105,
    -0x1.6c4ca393d8d6dp+101, 0x1.5fc8f3f926085p+63,   -0x1.4ef417e1ad6a9p+73,  0x1.b399e73c6974ap+80,
    -0x1.cde721b54126bp+86,  0x1.0a2bb021a7b89p+92,   -0x1.818396b36f143p+96,  0x1.7ecd9bfa6ecabp+100,
    -0x1.140945361a89ap+104, 0x1.2d032410dcab7p+107,  -0x1.ff41bfeb5fa8cp+109, 0x1.59acfe8efc360p+112,
    -0x1.7a789364c7ac3p+114, 0x1.53d6f9f673ffap+116,  -0x1.f969621396a0fp+117, 0x1.3978fb442030cp+119,
    -0x1.45f4f6211b69cp+120, 0x1.1cf8cf16c73d0p+121,  -0x1.a369be3956548p+121, 0x1.03958acfe7a48p+122,
    -0x1.0d7c77e8a276ep+122, 0x1.d2d4550da1472p+121,  -0x1.4ea2721d829b2p+121, 0x1.885ca2cf2c0f4p+120,
    -0x1.71decff7c47f5p+119, 0x1.1168662e97458p+118,  -0x1.312a4b52cea9ap+116, 0x1.e3722394445a6p+113,
    -0x1.e4503087df27bp+110, 0x1.cd402e38423e3p+106,
};

// (atanh(q) / q - 1) / q^2 in q^2 <= 0.04; error 2^-56.1
OMNICONV_BESSEL_TABLE double kAtanh64[] = {
    0x1.5555555555555p-2, 0x1.9999999999f30p-3, 0x1.24924923dba6ap-3, 0x1.c71c72e2f78d5p-4,
    0x1.745cab2727663p-4, 0x1.3b29fcbbce66dp-4, 0x1.0e88ea4725d3dp-4, 0x1.16b68338bd78bp-4,
};
// the same for float32; error 2^-28.9
OMNICONV_BESSEL_TABLE double kAtanh32[] = {
    0x1.555555338930ep-2,
    0x1.999a6c1558a42p-3,
    0x1.242c5ad276ccbp-3,
    0x1.e66d6f49a5601p-4,
};
// (e^r - 1 - r) / r^2 for |r| <= log(2) / 2; error 2^-59.3
OMNICONV_BESSEL_TABLE double kExp[] = {
    0x1.0000000000000p-1,  0x1.5555555555557p-3,  0x1.5555555555556p-5,  0x1.11111111100bep-7,
    0x1.6c16c16c162c3p-10, 0x1.a01a01abf85abp-13, 0x1.a01a01a6e1e2ap-16, 0x1.71de01fdbf9cap-19,
    0x1.27e4db46cddd1p-22, 0x1.af4e554377204p-26, 0x1.1f7340dbc337ep-29,
};

// z with sqrt(1 + z^2) = asinh(1 / z): where the leading term of the logarithms is 0, as the sum of two
OMNICONV_BESSEL_TABLE double kZeroLine[] = {0x1.53531aff7ce6dp-1, 0x1.2ce0dafecc8fbp-57};
// derivative of the leading term there, in units of v, as the sum of two
OMNICONV_BESSEL_TABLE double kZeroSlope[] = {0x1.cf6756d4488f4p+0, 0x1.a62351695fe41p-54};
// (leading(z + e) / e - slope) / e for |e| <= 1 / 64; error 2^-52.3
OMNICONV_BESSEL_TABLE double kZeroTail64[] = {
    -0x1.e5d470bae22e0p-1, 0x1.19a39ebffbb78p+0, -0x1.4b98d3428901bp+0, 0x1.9250cf6cb1492p+0,
    -0x1.f8955d352dbaap+0, 0x1.45a9115075bd9p+1, -0x1.ae22bd2763764p+1, 0x1.207f73e821370p+2,
};
// the same for float32; error 2^-26.0
OMNICONV_BESSEL_TABLE double kZeroTail32[] = {
    -0x1.e5d4703a3e7e7p-1,
    0x1.19a39e6cf51c0p+0,
    -0x1.4bb8ad484d625p+0,
    0x1.9279ecdc9201cp+0,
};

// (1 / Gamma(1 + f) - 1) / f on [0, 1]; error 2^-59.1
OMNICONV_BESSEL_TABLE double kReciprocalGamma[] = {
    0x1.2788cfc6fb619p-1,   -0x1.4fcf4026afa2ap-1,  -0x1.5815e8fa282a2p-5,  0x1.5512320b4c4d1p-3,
    -0x1.59af103e28d73p-5,  -0x1.3b4af23e5f735p-7,  0x1.d919c1ffb9a01p-8,   -0x1.3170e206c88c9p-10,
    -0x1.c36901ab0457bp-13, 0x1.0c91933f1b565p-13,  -0x1.520d42b1cc2edp-16, -0x1.4dd73722b3b42p-20,
    0x1.31bf39c73932fp-20,  -0x1.d63bf83671052p-23, 0x1.277eb646b9e89p-26,
};
// (1/Gamma(1 - m) - 1/Gamma(1 + m)) / (2 m) in m^2 <= 1/4; error 2^-60.6
OMNICONV_BESSEL_TABLE double kGammaOdd[] = {
    -0x1.2788cfc6fb619p-1, 0x1.5815e8fa27071p-5,  0x1.59af103c3332fp-5,   -0x1.d919c527203e8p-8,
    0x1.c364fccbdcf47p-13, 0x1.51cefa90e95a6p-16, -0x1.3045f86b6117fp-20, -0x1.5348ca59d7f11p-28,
};
// ((1/Gamma(1 - m) + 1/Gamma(1 + m)) / 2 - 1) / m^2 there; error 2^-64.2
OMNICONV_BESSEL_TABLE double kGammaEven[] = {
    -0x1.4fcf4026afa2ep-1, 0x1.5512320b43fbfp-3,   -0x1.3b4af284842bap-7,  -0x1.317112cdf0beap-10,
    0x1.0c8a78a998e6dp-13, -0x1.4faca846e74d7p-20, -0x1.b9af23ea2af5cp-23, 0x1.5ec4ab6e9c956p-28,
};
// (pi m / sin(pi m) - 1) / m^2 there; error 2^-69.7
OMNICONV_BESSEL_TABLE double kReflection[] = {
    0x1.a51a6625307d3p+0,  0x1.e4e17caddba7ep+0, 0x1.f89a271351b6ap+0,  0x1.fe1240844e215p+0, 0x1.ff821b392dec2p+0,
    0x1.ffe03d3dfbb6ep+0,  0x1.fff807b8f93a4p+0, 0x1.fffde96e6c729p+0,  0x1.0000af36c87c5p+1, 0x1.ffe35f11c1a80p+0,
    0x1.00a46949e9e9cp+1,  0x1.f4b1272a38e2ep+0, 0x1.260f0b33e7438p+1,  0x1.e840786e904b5p-2, 0x1.f705e2dfc3b0ep+2,
    -0x1.cff711348ac43p+3, 0x1.13956e0d57c83p+5, -0x1.358fbda987ecbp+5, 0x1.c0b89bce2acacp+4,
};

// log(2), the first of the two short enough to be exact times an exponent
OMNICONV_BESSEL_TABLE double kLog2In64[] = {0x1.62e42fefa4000p-1, -0x1.8432a1b0e2634p-43};
// the same for float32
OMNICONV_BESSEL_TABLE double kLog2In32[] = {0x1.62e4000000000p-1, 0x1.7f7d1cf79abcap-20};
// log(2 pi) / 2, as the sum of two
OMNICONV_BESSEL_TABLE double kHalfLog2Pi[] = {0x1.d67f1c864beb5p-1, -0x1.65b5a1b7ff5dfp-55};
// log(pi / 2) / 2, as the sum of two
OMNICONV_BESSEL_TABLE double kHalfLogHalfPi[] = {0x1.ce6bb25aa1316p-3, -0x1.dcd49c8e5aff6p-58};

}  // namespace omniconv::bessel
