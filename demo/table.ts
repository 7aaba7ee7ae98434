import Table from 'cli-table3'
import type { Outcome } from './read-back.ts'

const ABSENT = '-'

/** What happened, one device a row. */
export function tableOf(outcomes: readonly Outcome[]): string {
  const table = new Table({
    head: [
      'Enrollment',
      'Registration\nID',
      'Attestation',
      'Status',
      'Hub',
      'Device ID',
      'Twin tags',
      'Message\nin the log',
    ],
    style: { head: [], border: [] },
  })
  for (const { enrolled, status, hub, deviceId, tags, message } of outcomes)
    table.push([
      enrolled.enrollment,
      enrolled.device.registrationId,
      enrolled.attestation,
      status ?? ABSENT,
      hub ?? ABSENT,
      deviceId ?? ABSENT,
      tags === undefined ? ABSENT : wordsOf(tags),
      message ?? ABSENT,
    ])
  return table.toString()
}

const wordsOf = (tags: object): string =>
  Object.entries(tags)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join('\n')
