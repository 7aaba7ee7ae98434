import { readFile, stat } from 'node:fs/promises'
import { limits } from '../base/limits.ts'
import { CertificateError, readCertificates } from '../crypto/certificates.ts'
import { type Environment, notice, usage } from './environment.ts'
import { absolute } from './ready-file.ts'

/** Reads a file that the user named; `what` is how a complaint calls its content. */
export async function readNamed(path: string, what: string, { cwd }: Environment): Promise<Buffer> {
  const file = absolute(cwd, path)
  try {
    const { size } = await stat(file)
    if (size > limits.cliFileBytes)
      throw usage(`Expected ${what} of at most ${limits.cliFileBytes} bytes in ${file}, found ${size} bytes.`)
    return await readFile(file)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === undefined) throw cause
    throw usage(`Expected ${what} in ${file}, found ${code === 'ENOENT' ? 'no such file' : code}.`, cause)
  }
}

/**
 * The first certificate of a PEM or DER file, as PEM: of a full chain that is the one the file is named for. Nothing
 * else of the file leaves this machine, a private key beside it least of all.
 */
export async function readCertificateFile(path: string, environment: Environment): Promise<string> {
  const bytes = await readNamed(path, 'a certificate', environment)
  const blocks = bytes.toString('latin1').match(PEM_CERTIFICATE)
  if (blocks === null && bytes.includes('PRIVATE KEY-----'))
    throw usage(
      `Expected a certificate in ${path}, found a private key. Keep that to yourself; name the .cert.pem file.`,
    )
  try {
    const [certificate, ...others] = readCertificates(blocks === null ? bytes : blocks.join('\n'))
    if (certificate === undefined) throw new CertificateError('it holds no certificate')
    if (others.length > 0)
      notice(environment, `${path} holds ${others.length + 1} certificates; taking the first, ${certificate.subject}`)
    return pemOf(certificate.raw)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw usage(`Expected a certificate in ${path}, PEM or DER, found something else: ${why}`, cause)
  }
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g

const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`
