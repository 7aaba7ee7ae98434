import { writeFile } from 'node:fs/promises'
import { CertificateError, readCertificates } from '../crypto/certificates.ts'
import { readBounded } from './bounded-file.ts'
import { type Environment, notice, refused, usage } from './environment.ts'
import { absolute } from './ready-file.ts'

/** Reads a file that the user named; `what` is how a complaint calls its content. */
export async function readNamed(path: string, what: string, { cwd }: Environment): Promise<Buffer> {
  const file = absolute(cwd, path)
  const content = await readBounded(file)
  if (typeof content === 'string') throw usage(`Expected ${what} in ${file}, found ${content}.`)
  return content
}

/**
 * The first certificate of a PEM or DER file, as PEM: of a full chain that is the one the file is named for. Nothing
 * else of the file leaves this machine, a private key beside it least of all.
 */
export async function readCertificateFile(path: string, environment: Environment): Promise<string> {
  const bytes = await readNamed(path, 'a certificate', environment)
  if (bytes.includes('PRIVATE KEY-----') && !bytes.includes('CERTIFICATE-----'))
    throw usage(
      `Expected a certificate in ${path}, found a private key. Keep that to yourself; name the .cert.pem file.`,
    )
  try {
    const [certificate, ...others] = readCertificates(bytes)
    if (certificate === undefined) throw new CertificateError('it holds no certificate')
    if (others.length > 0)
      notice(environment, `${path} holds ${others.length + 1} certificates; taking the first, ${certificate.subject}`)
    return pemOf(certificate.raw)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw usage(`Expected a certificate in ${path}, PEM or DER, found something else: ${why}`, cause)
  }
}

/** Writes a file that is not there yet; one that appeared in the meantime is not overwritten either. */
export async function writeNew(path: string, content: string, mode: number): Promise<void> {
  await writeFile(path, content, { mode, flag: 'wx' }).catch((cause: NodeJS.ErrnoException) => {
    throw refused(`Expected to write ${path}, found ${cause.code ?? cause.message}.`, cause)
  })
}

const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`
