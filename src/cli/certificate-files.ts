import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import {
  createAuthority,
  type Issued,
  issueDeviceCertificate,
  issueVerificationCertificate,
} from '../crypto/issuing.ts'
import { type Environment, usage } from './environment.ts'
import { writeNew } from './files.ts'
import { absolute } from './ready-file.ts'

interface Place {
  readonly out: string
  readonly force?: boolean
}

interface Options extends Place {
  readonly keyType: 'ec' | 'rsa'
  readonly days: number
}

/** File names are those of the IoT Edge script (edge.md 8.1, mission C1); `root` and every other CA by their prefix. */
const prefixes = {
  root: 'azure-iot-test-only.root.ca',
  authority: (name: string) => (name === 'root' ? prefixes.root : `azure-iot-test-only.${name}`),
  device: (name: string) => `iot-edge-device-identity-${name}`,
  verification: 'iot-device-verification-code',
}

export async function createRootAndIntermediate(options: Options, environment: Environment): Promise<void> {
  await createRoot({ ...options, commonName: 'Azure_IoT_Hub_CA_Cert_Test_Only' }, environment)
  await createIntermediate('intermediate', { ...options, issuer: 'root' }, environment)
}

export async function createRoot(
  options: Options & { readonly commonName: string },
  environment: Environment,
): Promise<void> {
  const { commonName, days, keyType } = options
  const files = filesOf(prefixes.root, options, environment)
  await files.refuseOverwriting()
  const root = await createAuthority({ commonName, days, keyType, now: now(environment) })
  // A root is its own chain; the script writes no second file for it.
  await files.write({ ...root, chain: undefined })
}

export async function createIntermediate(
  name: string,
  options: Options & { readonly issuer: string; readonly commonName?: string },
  environment: Environment,
): Promise<void> {
  if (name === 'root') throw usage('Expected a name for the intermediate other than "root", which is the root CA’s.')
  const { days, keyType } = options
  const files = filesOf(prefixes.authority(checked(name)), options, environment)
  await files.refuseOverwriting()
  const issuer = await readAuthority(options.issuer, options, environment)
  const standard = name === 'intermediate' ? 'Azure_IoT_Hub_Intermediate_Cert_Test_Only' : name
  const commonName = options.commonName ?? standard
  await files.write(await createAuthority({ commonName, days, keyType, now: now(environment), issuer }))
}

export async function createDevice(
  name: string,
  options: Options & { readonly issuer: string; readonly selfSigned?: boolean },
  environment: Environment,
): Promise<void> {
  const { days, keyType } = options
  const files = filesOf(prefixes.device(checked(name)), options, environment)
  await files.refuseOverwriting()
  const authority = options.selfSigned === true ? undefined : await readAuthority(options.issuer, options, environment)
  await files.write(await issueDeviceCertificate({ authority, commonName: name, days, keyType, now: now(environment) }))
}

export async function createVerification(
  code: string,
  options: Place & { readonly issuer: string },
  environment: Environment,
): Promise<void> {
  const files = filesOf(prefixes.verification, options, environment)
  await files.refuseOverwriting()
  const authority = await readAuthority(options.issuer, options, environment)
  await files.write(await issueVerificationCertificate({ authority, code: checked(code), now: now(environment) }))
}

const now = ({ clock = systemClock }: Environment): number => clock.now()

/** What may stand in a file name and in a common name, on every file system that we know. */
function checked(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return name
  throw usage(
    `Expected a name of 1 to 64 letters, digits, dots, underscores and hyphens, beginning with a letter or digit, found "${name}".`,
  )
}

interface CertificateFiles {
  refuseOverwriting(): Promise<void>
  write(issued: {
    readonly certificate: string
    readonly key: string
    readonly chain: string | undefined
  }): Promise<void>
}

function filesOf(prefix: string, { out, force }: Place, environment: Environment): CertificateFiles {
  const at = (name: string): string => join(absolute(environment.cwd, out), name)
  const paths = {
    certificate: at(`certs/${prefix}.cert.pem`),
    chain: at(`certs/${prefix}-full-chain.cert.pem`),
    key: at(`private/${prefix}.key.pem`),
  }
  const put = async (path: string, content: string, mode: number): Promise<void> => {
    await mkdir(dirname(path), { recursive: true, mode: path === paths.key ? 0o700 : 0o755 })
    if (force === true) await rm(path, { force: true })
    await writeNew(path, content, mode)
    environment.stdout.write(`${path}\n`)
  }
  return {
    refuseOverwriting: async () => {
      const found = Object.values(paths).find((path) => existsSync(path))
      if (found !== undefined && force !== true)
        throw usage(
          `Expected no file ${found} yet, found one. Choose another --out folder, or replace it with --force.`,
        )
    },
    write: async ({ certificate, chain, key }) => {
      await put(paths.key, key, 0o600)
      await put(paths.certificate, certificate, 0o644)
      if (chain !== undefined) await put(paths.chain, chain, 0o644)
    },
  }
}

/** A CA that an earlier command made in the same folder. */
async function readAuthority(name: string, { out }: Place, { cwd }: Environment): Promise<Issued> {
  const prefix = prefixes.authority(checked(name))
  const at = (file: string): Promise<string> => {
    const path = join(absolute(cwd, out), file)
    return readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      throw usage(
        `Expected the CA "${name}" in ${path}, found ${cause.code === 'ENOENT' ? 'no such file' : cause.code}. ` +
          `Make it first with "muster certs ${name === 'root' ? 'root' : `intermediate ${name}`}", in the same --out folder.`,
        cause,
      )
    })
  }
  const certificate = await at(`certs/${prefix}.cert.pem`)
  const chain = name === 'root' ? certificate : await at(`certs/${prefix}-full-chain.cert.pem`)
  return { certificate, key: await at(`private/${prefix}.key.pem`), chain }
}
