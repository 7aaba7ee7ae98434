import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { createLog } from '../../src/base/log.ts'
import { serveMqtt } from '../../src/wire/mqtt.ts'
import { type RecordedFace, recordingFace } from '../wire-engine/device.ts'
import { fuzz, inputs, seed } from './fuzz.ts'
import { usedHeap } from './memory.ts'
import { checkMqttOutput, mqttInputs } from './mqtt-inputs.ts'

const INPUTS = inputs(600_000)

/** Stands still and counts the timers that nobody cancelled. */
function stillClock() {
  const pending = new Set<object>()
  const clock: Clock = {
    now: () => 1_767_225_600_000,
    after: () => {
      const timer = { cancel: () => void pending.delete(timer) }
      pending.add(timer)
      return timer
    },
  }
  return { clock, pending }
}

test(`the engine survives ${INPUTS} mutated MQTT sessions (seed ${seed})`, async () => {
  const { clock, pending } = stillClock()
  const faults: string[] = []
  const log = createLog('error', { write: (line) => void faults.push(line) })
  const faces = new Map<number, RecordedFace>()
  let accepted = 0
  let published = 0
  const before = usedHeap()
  await fuzz({
    seed,
    inputs: INPUTS,
    corpus: mqttInputs({ username: 'hub.example/d1/?api-version=2021-04-12', password: Buffer.from('token') }, 'd1'),
    serve: (stream, at) =>
      void serveMqtt(stream, {
        clock,
        log,
        remote: 'memory',
        proved: () => undefined,
        connect: async ({ clientId }) => {
          if (clientId === 'dev-001') return { refuse: 5 }
          const face = recordingFace()
          faces.set(at, face)
          return { face }
        },
      }),
    check: ({ at, output }) => {
      const packets = checkMqttOutput(output)
      const face = faces.get(at)
      faces.delete(at)
      const [connack] = packets
      const wasAccepted = connack?.cmd === 'connack' && connack.returnCode === 0
      if (!wasAccepted) return expect(face?.endings.length ?? 1).toBe(1)
      accepted += 1
      published += face?.published.length ?? 0
      // Told of the end exactly once, and never more acknowledged than was handed over.
      expect(face?.endings).toHaveLength(1)
      const acknowledged = packets.filter(({ cmd }) => cmd === 'puback').length
      expect(acknowledged).toBeLessThanOrEqual(face?.published.filter(({ qos }) => qos === 1).length ?? 0)
    },
  })
  const grown = (usedHeap() - before) / 1024 / 1024
  console.info(
    `${accepted} of ${INPUTS} were accepted, ${published} messages handed over, heap grew ${grown.toFixed(1)} MiB`,
  )
  expect(faults).toEqual([])
  expect(faces.size).toBe(0)
  expect(pending.size).toBe(0)
  expect(grown).toBeLessThan(16)
  // The corpus must get past CONNECT often enough to test what is behind it.
  expect(accepted).toBeGreaterThan(INPUTS / 10)
})
