import { createHash } from 'node:crypto'
import { sized } from '../base/big-endian.ts'
import { type Commands, HANDLES, HIERARCHIES, tpmCommands } from './commands.ts'
import type { TpmTransport } from './transport.ts'

/** What a provisioning service is told of a TPM: TPM2B_PUBLIC each; undefined where the TPM holds none. */
export interface TpmKeys {
  readonly endorsementKey: Buffer | undefined
  readonly storageRootKey: Buffer | undefined
}

export interface TpmDevice {
  /** The keys at the handles that all clients use (attestation-crypto.md A3); `create` makes the ones that are absent. */
  keys(create: boolean): Promise<TpmKeys>
  /** Which template makes this endorsement key on this TPM. Nothing in the TPM changes. */
  templateOf(endorsementKey: Buffer): Promise<EndorsementTemplate | undefined>
}

/** On one TPM each template makes another endorsement key (attestation-crypto.md A3). */
export interface EndorsementTemplate {
  readonly name: string
  /** Software that makes keys from it. */
  readonly usedBy: string
  readonly hierarchy: number
  readonly area: Buffer
}

const ZEROS = Buffer.alloc(256)
const NONE = Buffer.alloc(0)
/** PolicySecret(endorsement). */
const ENDORSEMENT_POLICY = '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'

/** RSA-2048, SHA-256 names, AES-128-CFB, no scheme, the default exponent. */
const rsaStorage = (attributes: string, policy: string, unique: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from(`0001000b${attributes}`, 'hex'),
    sized(Buffer.from(policy, 'hex')),
    Buffer.from('0006008000430010080000000000', 'hex'),
    sized(unique),
  ])

const endorsement = (unique: Buffer): Buffer => rsaStorage('000300b2', ENDORSEMENT_POLICY, unique)

/** The template of the TCG's profile, which most software uses: what absent keys are made from. */
const L1: EndorsementTemplate = {
  name: 'TCG L-1: endorsement hierarchy, unique of 256 zero bytes',
  usedBy: 'the C# SDK, IoT Edge 1.2 and later, tpm2_createek, muster',
  hierarchy: HIERARCHIES.endorsement,
  area: endorsement(ZEROS),
}

export const ENDORSEMENT_TEMPLATES: readonly EndorsementTemplate[] = [
  L1,
  {
    name: 'endorsement hierarchy, empty unique',
    usedBy: 'the Node and C SDKs',
    hierarchy: HIERARCHIES.endorsement,
    area: endorsement(NONE),
  },
  {
    name: 'owner hierarchy, empty unique',
    usedBy: 'the Java SDK',
    hierarchy: HIERARCHIES.owner,
    area: endorsement(NONE),
  },
]

const STORAGE = { hierarchy: HIERARCHIES.owner, area: rsaStorage('00030472', '', ZEROS) }

/** Starts a TPM that has nobody to start it. */
export async function tpmDevice(transport: TpmTransport): Promise<TpmDevice> {
  const commands = tpmCommands(transport)
  if (transport.needsStartup) await commands.startup()

  const key = async (handle: number, template: Template | undefined): Promise<Buffer | undefined> =>
    (await commands.readPublic(handle)) ??
    (template &&
      withPrimary(commands, template, async (primary) => {
        await commands.persist(primary.handle, handle)
        return primary.bytes
      }))

  return {
    keys: async (create) => ({
      endorsementKey: await key(HANDLES.endorsementKey, create ? L1 : undefined),
      storageRootKey: await key(HANDLES.storageRootKey, create ? STORAGE : undefined),
    }),
    async templateOf(endorsementKey) {
      for (const template of ENDORSEMENT_TEMPLATES) {
        const made = await withPrimary(commands, template, async ({ bytes }) => bytes)
        if (made.equals(endorsementKey)) return template
      }
      return undefined
    },
  }
}

type Template = Pick<EndorsementTemplate, 'hierarchy' | 'area'>

/** TPMs have room for three keys or so: every one is flushed, also when something fails. */
async function withPrimary<T>(
  commands: Commands,
  { hierarchy, area }: Template,
  use: (primary: { handle: number; bytes: Buffer }) => Promise<T>,
): Promise<T> {
  const primary = await commands.createPrimary(hierarchy, area)
  try {
    return await use(primary)
  } finally {
    await commands.flush(primary.handle)
  }
}

/**
 * The registration id that Node, Java and C make from an endorsement key: SHA-256 of TPM2B_PUBLIC, length included, in
 * base32 of lower case without padding (attestation-crypto.md A3.1).
 */
export const registrationIdOf = (endorsementKey: Buffer): string =>
  base32(createHash('sha256').update(endorsementKey).digest())

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

function base32(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return (bits.match(/.{1,5}/g) ?? []).map((five) => ALPHABET[Number.parseInt(five.padEnd(5, '0'), 2)]).join('')
}
