import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Device, Report } from './device.ts'

const DEVICES_MS = 50_000
const program = fileURLToPath(new URL('device.ts', import.meta.url))

/**
 * Lets the devices live their lives in a process that trusts the service's CA, and tells their story as it comes.
 * @param started called at once with what ends them before their time
 * @returns why a device failed, by registration ID
 */
export async function runDevices(
  devices: readonly Device[],
  caFile: string,
  say: (line: string) => void,
  started: (stop: () => Promise<void>) => void,
): Promise<ReadonlyMap<string, string>> {
  const child = spawn(process.execPath, [program], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: caFile, NODE_NO_WARNINGS: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: DEVICES_MS,
  })
  const exit = once(child, 'exit')
  started(async () => void child.kill())
  // A process that ends before it has read is told by what it did not report.
  child.stdin.on('error', () => {})
  child.stdin.end(JSON.stringify(devices))
  const silent = new Set(devices.map(({ registrationId }) => registrationId))
  const failures = new Map<string, string>()
  for await (const line of createInterface({ input: child.stdout })) {
    const report = JSON.parse(line) as Report
    say(`  ${report.registrationId.padEnd(12)} ${wordsOf(report)}`)
    if (report.step !== 'assigned') silent.delete(report.registrationId)
    if (report.step === 'failed') failures.set(report.registrationId, report.error)
  }
  await exit
  for (const registrationId of silent) failures.set(registrationId, `it did not finish within ${DEVICES_MS / 1000} s`)
  return failures
}

function wordsOf(report: Report): string {
  switch (report.step) {
    case 'assigned':
      return `is device ${report.deviceId} of hub ${report.hub}`
    case 'sent':
      return 'sent its message, and the hub acknowledged it'
    case 'failed':
      return `failed: ${report.error}`
  }
}
