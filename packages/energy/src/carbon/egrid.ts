/**
 * Total output emission rates of the subregions of the United States, lb CO2e/MWh (AR5).
 * EPA, eGRID2023 (data of 2023), summary table 1; public domain.
 */
const poundsPerMegawattHour: Readonly<Record<string, number>> = {
  AKGD: 904.591,
  AKMS: 521.233,
  AZNM: 743.548,
  CAMX: 438.15,
  ERCT: 740.832,
  FRCC: 804.392,
  HIMS: 1132.035,
  HIOA: 1498.679,
  MROE: 1409.758,
  MROW: 926.448,
  NEWE: 541.127,
  NWPP: 635.337,
  NYCW: 976.151,
  NYLI: 1189.368,
  NYUP: 241.563,
  PRMS: 1548.288,
  RFCE: 597.073,
  RFCM: 967.295,
  RFCW: 915.959,
  RMPA: 1041.986,
  SPNO: 867.541,
  SPSO: 894.763,
  SRMV: 741.371,
  SRMW: 1247.042,
  SRSO: 844.553,
  SRTV: 900.82,
  SRVC: 593.079,
}

/** Grams CO2e per kWh by zone `USA-<subregion>`, to a tenth. */
export const egridGrams2023: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(poundsPerMegawattHour).map(([code, pounds]) => [`USA-${code}`, Math.round(pounds * 4.535_923_7) / 10]),
)
