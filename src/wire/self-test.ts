import { createPrivateKey } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { connect, createServer, type SecureVersion, type TLSSocket } from 'node:tls'
import { presentedChain } from './peer.ts'
import { presentedChainOptions } from './tls-options.ts'

/**
 * Some versions of Node show a server the client's leaf without its intermediates (nodejs/node issue 65579:
 * attestation-crypto.md B2, trap 1). Every enrollment group would then refuse every device, without a hint why; so the
 * start refuses such a Node by name. Two handshakes in memory, one for each version of TLS.
 * @throws Error that names this Node
 */
export async function proveChainVisible(): Promise<void> {
  const tls = material()
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
    const seen = await certificatesSeen(version, tls)
    if (seen !== 2) throw unfit(`showed ${seen} of the 2 certificates that a ${version} client presented`)
  }
}

const unfit = (what: string, cause?: unknown): Error =>
  new Error(
    `Node ${process.version} cannot be used: its TLS server ${what}, so devices with certificates could not be ` +
      'recognised. Use another version of Node, for example 26.10.0.',
    { cause },
  )

function certificatesSeen(version: SecureVersion, tls: Material): Promise<number | 'none'> {
  const { cert, key, ca } = tls
  return new Promise((resolve, reject) => {
    const [near, far] = duplexPair()
    const server = createServer({ ...presentedChainOptions, cert, key })
    const client = connect({
      socket: near,
      servername: 'self-test.invalid',
      ca,
      cert,
      key,
      minVersion: version,
      maxVersion: version,
    })
    const end = (): void => {
      client.destroy()
      far.destroy()
    }
    const failed = (error?: Error): void => {
      reject(unfit(`failed a ${version} handshake (${error?.message ?? 'closed early'})`, error))
      end()
    }
    client.on('error', failed)
    client.on('close', () => failed())
    server.on('tlsClientError', failed)
    server.on('secureConnection', (socket: TLSSocket) => {
      socket.on('error', () => undefined)
      resolve(presentedChain(socket)?.length ?? 'none')
      end()
    })
    server.emit('connection', far)
  })
}

interface Material {
  cert: string
  key: string
  ca: string
}

function material(): Material {
  const key = createPrivateKey({ key: Buffer.from(LEAF_KEY, 'base64'), format: 'der', type: 'pkcs8' })
  return {
    cert: pem(LEAF) + pem(INTERMEDIATE),
    key: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
    ca: pem(ROOT),
  }
}

const pem = (base64: string): string => `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`

// Throw-away certificates (P-256, years 2000 to 9999) for this test alone: making them at every start would cost more
// than the test. The key is no secret: nothing trusts the root, whose own key was not kept.
const ROOT =
  'MIIBNDCB3KADAgECAgEBMAoGCCqGSM49BAMCMBkxFzAVBgNVBAMTDnNlbGYtdGVzdCByb290MCAXDTAwMDEwMTAwMDAwMFoYDzk5OTkxMjMxMjM1OTU5' +
  'WjAZMRcwFQYDVQQDEw5zZWxmLXRlc3Qgcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDfBWYbcLKiNUCcA7HlCF5c0sDZqgujlvLkc4lCkp50L' +
  'duBpXWybjxzZzSsIay0c95loBiGkIToj0NNIx9JDwvyjEzARMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgW+jGuwrlp3yeTOU4UUz0' +
  '7dB5kKVp7C0D0ylMnrcDYMwCICRGi/tHYGt2u5Ws+SyXPVsv3DqcQrjFIagIDCCsZB1/'
const INTERMEDIATE =
  'MIIBPTCB5KADAgECAgECMAoGCCqGSM49BAMCMBkxFzAVBgNVBAMTDnNlbGYtdGVzdCByb290MCAXDTAwMDEwMTAwMDAwMFoYDzk5OTkxMjMxMjM1OTU5' +
  'WjAhMR8wHQYDVQQDExZzZWxmLXRlc3QgaW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1+qI7SNzshoGI0WhsFKoC0H6+E7L9g+k' +
  'vBkOEqZ2lyUjXd+gm5WsGqX1qMNN5hutiIJulYxmZS2aBqt7+eK1N6MTMBEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBUxX9hWrc+' +
  'GSY5VfzDSqPtLZziz6LG4oC8Od6mz5thiAIhANVQldEfL+lYF1VyW4Z7yL+WfaA4XHW6XLSdsj5vx4qf'
const LEAF =
  'MIIBTDCB9KADAgECAgEDMAoGCCqGSM49BAMCMCExHzAdBgNVBAMTFnNlbGYtdGVzdCBpbnRlcm1lZGlhdGUwIBcNMDAwMTAxMDAwMDAwWhgPOTk5OTEy' +
  'MzEyMzU5NTlaMBwxGjAYBgNVBAMTEXNlbGYtdGVzdC5pbnZhbGlkMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9gA1eIZlvwgwU+5aBOWai+5ZT0KS' +
  '0V8St04CSsCLfjCD1NaDSTONVDuZcnG1sZRH/lNZQGPnSeO3wZD5S5Q9RaMgMB4wHAYDVR0RBBUwE4IRc2VsZi10ZXN0LmludmFsaWQwCgYIKoZIzj0E' +
  'AwIDRwAwRAIgdsb/1XuopqW4kT4s5Ovvcu5KxDEQfPBrWlh00XcJVVYCIEqiSEqXaKZQt6KuIQ/c+wqrEBJjGnRORlAnupJdjztg'
const LEAF_KEY =
  'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcoOYWNP2kKwLj5Q8wArlTPabA51BmDdosfdsFhogIXChRANCAAT2ADV4hmW/CDBT7loE' +
  '5ZqL7llPQpLRXxK3TgJKwIt+MIPU1oNJM41UO5lycbWxlEf+U1lAY+dJ47fBkPlLlD1F'
