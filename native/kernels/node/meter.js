import { native } from './load.js'

// The binary is loaded at the first call, not at import: a program that never meters must not fail for want of it.
// An async function, so that a missing binary rejects like everything else.
export const openMeter = async (options) => native().meterOpen(options)
export const meterGains = (folder, rank, limit) => native().meterGains(folder, rank, limit)
export const meterCalibrate = (folder, csv, rank) => native().meterCalibrate(folder, csv, rank)
export const meterMark = (token, begin) => native().meterMark(token, begin)
export const meterMerge = (folders) => native().meterMerge(folders)
export const meterNow = () => native().meterNow()
export const meterRead = (folder, rank) => native().meterRead(folder, rank)
export const meterFindSources = async (options) => native().meterFindSources(options)
export const meterSources = (options) => native().meterSources(options)
export const meterVerify = (folder) => native().meterVerify(folder)
