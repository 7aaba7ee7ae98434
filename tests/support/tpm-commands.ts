import { createHash } from 'node:crypto'

/** A TPM that knows the commands of reading and making primary keys, and has the room of a real one. */
export interface TpmCommandsDouble {
  exchange(command: Buffer): Promise<Buffer>
  /** TPM2B_PUBLIC by handle. */
  readonly persistent: Map<number, Buffer>
  /** Transient handles in use. */
  readonly loaded: Map<number, Buffer>
  readonly commands: string[]
  /** Answered by the commands of this name. */
  refuse: { command: string; code: number } | undefined
}

const NAMES: Readonly<Record<number, string>> = {
  288: 'evictControl',
  305: 'createPrimary',
  324: 'startup',
  357: 'flushContext',
  371: 'readPublic',
}
const SLOTS = 3

export function tpmCommandsDouble(): TpmCommandsDouble {
  const double: TpmCommandsDouble = {
    persistent: new Map(),
    loaded: new Map(),
    commands: [],
    refuse: undefined,
    exchange: async (command) => {
      if (command.readUInt32BE(2) !== command.length) return answer(0x142)
      const name = NAMES[command.readUInt32BE(6)] ?? 'unknown'
      double.commands.push(name)
      return double.refuse?.command === name ? answer(double.refuse.code) : run(name, command.subarray(10))
    },
  }

  function run(name: string, body: Buffer): Buffer {
    switch (name) {
      case 'startup':
        return answer(0x100)
      case 'readPublic': {
        const found = double.persistent.get(body.readUInt32BE(0))
        return found === undefined ? answer(0x18b) : answer(0, found, Buffer.from('0000', 'hex'))
      }
      case 'createPrimary': {
        if (double.loaded.size === SLOTS) return answer(0x902)
        const handle = 0x80000000 + double.loaded.size
        const made = primary(body.readUInt32BE(0), templateOf(body))
        double.loaded.set(handle, made)
        return answer(0, u32(handle), u32(made.length), made)
      }
      case 'evictControl': {
        const object = double.loaded.get(body.readUInt32BE(4))
        if (object === undefined) return answer(0x28b)
        double.persistent.set(body.readUInt32BE(body.length - 4), object)
        return answer(0, u32(0))
      }
      case 'flushContext':
        return answer(double.loaded.delete(body.readUInt32BE(0)) ? 0 : 0x1cb)
      default:
        return answer(0x143)
    }
  }
  return double
}

/** Hierarchy, password session, empty sensitive area, then the template. */
function templateOf(body: Buffer): Buffer {
  const at = 4 + 4 + 9 + 6
  return body.subarray(at + 2, at + 2 + body.readUInt16BE(at))
}

/** A key that depends on its hierarchy and on the whole template, as real ones do. */
function primary(hierarchy: number, template: Buffer): Buffer {
  const isEmpty = template.subarray(-2).equals(Buffer.alloc(2)) && template.length < 256
  const area = template.subarray(0, template.length - (isEmpty ? 2 : 258))
  const seed = createHash('sha256').update(u32(hierarchy)).update(template).digest()
  const modulus = Buffer.concat(Array.from({ length: 8 }, () => seed))
  modulus[0] = 0x80
  modulus[255] = 1
  const content = Buffer.concat([area, Buffer.from('0100', 'hex'), modulus])
  return Buffer.concat([Buffer.from([content.length >> 8, content.length & 0xff]), content])
}

function answer(code: number, ...parts: readonly Buffer[]): Buffer {
  const body = code === 0 ? Buffer.concat(parts) : Buffer.alloc(0)
  return Buffer.concat([Buffer.from('8001', 'hex'), u32(10 + body.length), u32(code), body])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
