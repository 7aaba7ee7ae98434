import { expect } from 'vitest'
import type { TestMuster } from './muster.ts'

/** Base64 of 16, 32 and 64 bytes as it stands alone: keys have these sizes, and nothing that is logged does. */
const KEY = /(?<![A-Za-z0-9+/=])(?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==)(?![A-Za-z0-9+/=])/
const SIGNATURE = /\bsig=(?!\*|\[|<|…|redacted)[^&"\s]{8,}/i

/** Stops, and demands of the log that nothing failed inside the service and that no secret was written down. */
export async function stopClean(muster: TestMuster): Promise<void> {
  await muster.stop()
  const failures = muster.logged.filter((line) => (JSON.parse(line) as { level: number }).level >= 50)
  expect(failures, 'faults of the service itself').toEqual([])
  const secrets = muster.logged.filter((line) => KEY.test(line) || SIGNATURE.test(line) || line.includes('PRIVATE KEY'))
  expect(secrets, 'secrets in the log').toEqual([])
}
