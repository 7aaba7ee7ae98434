/** The library: the product as a value, for tests in process and for embedding. */
export { type App, createApp, type World } from './app.ts'
export { TestClock } from './base/clock.ts'
export { createLog, silentLog } from './base/log.ts'
export { seededRandom } from './base/random.ts'
export { type Config, defaults } from './config.ts'
export type { Addresses } from './instances.ts'
export type { ReadyFile } from './ready-file.ts'
