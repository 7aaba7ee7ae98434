import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { connect as connectTcp, createServer as createTcpServer, type Socket, Server as TcpServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { afterEach, beforeAll, expect, test, vi } from 'vitest'
import { systemClock, TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { silentLog } from '../base/log.ts'
import { createAuthority, type Issued, issueDeviceCertificate, issueServerCertificate } from '../crypto/issuing.ts'
import { type Listening, type ListenOptions, listen, type Peer, peerOf, type TlsMaterial } from './listener.ts'

const run = promisify(execFile)
const now = Date.now()
let ca: Issued
let tls: TlsMaterial
let deviceRoot: Issued
let deviceCa: Issued
let device: Issued

const material = async (name: string): Promise<TlsMaterial> => {
  const root = await createAuthority({ commonName: `${name} root`, days: 2, keyType: 'ec', now })
  ca = root
  // An intermediate: both server chains must be sent whole.
  const authority = await createAuthority({
    commonName: `${name} server CA`,
    days: 2,
    keyType: 'ec',
    now,
    issuer: root,
  })
  const issue = async (keyType: 'ec' | 'rsa') => {
    const issued = await issueServerCertificate({ authority, names: ['localhost', '127.0.0.1'], keyType, days: 1, now })
    return { cert: issued.chain, key: issued.key }
  }
  return { ec: await issue('ec'), rsa: await issue('rsa') }
}

beforeAll(async () => {
  tls = await material('first')
  deviceRoot = await createAuthority({ commonName: 'device root', days: 2, keyType: 'ec', now })
  deviceCa = await createAuthority({ commonName: 'device CA', days: 2, keyType: 'ec', now, issuer: deviceRoot })
  device = await issueDeviceCertificate({ commonName: 'd1', days: 1, keyType: 'ec', now, authority: deviceCa })
})

const opened: Listening[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await Promise.all(opened.splice(0).map((each) => each.close()))
})

/** A listener that says "hello" to everybody and remembers whom it served. */
async function start(options: Partial<ListenOptions> = {}) {
  const served: { socket: TLSSocket; peer: Peer }[] = []
  const listening = await listen({
    clock: systemClock,
    log: silentLog,
    address: '127.0.0.1',
    port: 0,
    tls,
    serve: (socket, peer) => {
      served.push({ socket, peer })
      socket.write('hello')
    },
    ...options,
  })
  opened.push(listening)
  return { ...listening, served }
}

/** A verified client. Resolves with the greeting, so that the server has seen the connection. */
function client(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = trusting({ ...options, socket: options.socket ?? tcp(port) })
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('closed')))
    socket.once('data', () => resolve(socket))
  })
}

const trusting = (options: ConnectionOptions): TLSSocket => {
  const socket = connectTls({ servername: 'localhost', ca: ca.certificate, ...options })
  sockets.push(socket)
  return socket
}

const closed = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve))

const tcp = (port: number, localAddress = '127.0.0.1'): Socket => {
  const socket = connectTcp({ port, host: '127.0.0.1', localAddress })
  sockets.push(socket)
  socket.on('error', () => undefined)
  socket.resume()
  return socket
}

test.each(['TLSv1.2', 'TLSv1.3'] as const)('the chain is seen as presented, over %s', async (version) => {
  const { port, served } = await start()
  const chains: [string, number][] = [
    ['', 0],
    [device.certificate, 1],
    [device.certificate + deviceCa.certificate, 2],
    [device.certificate + deviceRoot.certificate + deviceCa.certificate, 3],
  ]
  for (const [cert, length] of chains) {
    await client(port, { minVersion: version, maxVersion: version, ...(cert ? { cert, key: device.key } : {}) })
    const { socket, peer } = served.at(-1)!
    expect(socket.getProtocol()).toBe(version)
    expect(peer.chain).toHaveLength(length)
    expect(peer.address).toBe('127.0.0.1')
    expect(peerOf(socket)).toBe(peer)
    const presented = [...cert.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END/g)].map(([, base64]) =>
      Buffer.from(base64!, 'base64'),
    )
    expect(peer.chain).toEqual(presented)
  }
})

test('two connections from one port to two of our addresses keep deadlines of their own', async () => {
  const clock = new TestClock()
  const { port, served } = await start({ clock, address: '0.0.0.0' })
  const dial = async (host: string, localPort?: number): Promise<Socket> => {
    const socket = connectTcp({ port, host, localAddress: '127.0.0.1', ...(localPort ? { localPort } : {}) })
    sockets.push(socket)
    await once(socket, 'connect')
    return socket
  }
  const early = await dial('127.0.0.1')
  const later = await client(port, { socket: await dial('127.0.0.2', early.localPort) })
  const both = [later, await client(port, { socket: early })]
  for (const { peer } of served) peer.proved()
  clock.advance(limits.proveMs)
  const stillThere = both.map(
    (socket) =>
      new Promise((resolve) => socket.once('data', () => resolve('there')).once('close', () => resolve('cut'))),
  )
  for (const { socket } of served) socket.write('are you there?')
  expect(await Promise.all(stillThere)).toEqual(['there', 'there'])
})

test('more certificates than allowed: closed, and never served', async () => {
  const { port, served } = await start()
  const cert = device.certificate + deviceCa.certificate.repeat(limits.presentedChain - 1)
  await client(port, { cert, key: device.key })
  expect(served[0]?.peer.chain).toHaveLength(limits.presentedChain)
  await expect(client(port, { cert: cert + deviceCa.certificate, key: device.key })).rejects.toThrow()
  expect(served).toHaveLength(1)
})

test('clients without elliptic curves and without RSA both find a certificate, with its whole chain', async () => {
  const { port } = await start()
  const serverKey = async (options: ConnectionOptions) => {
    const socket = await client(port, options)
    const leaf = socket.getPeerX509Certificate()!
    expect(socket.authorized).toBe(true)
    return leaf.publicKey.asymmetricKeyType
  }
  expect(await serverKey({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' })).toBe('rsa')
  expect(await serverKey({ maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' })).toBe('rsa')
  expect(await serverKey({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' })).toBe('ec')
  expect(await serverKey({ minVersion: 'TLSv1.3', sigalgs: 'rsa_pss_rsae_sha256:ecdsa_secp384r1_sha384' })).toBe('rsa')
  expect(await serverKey({ minVersion: 'TLSv1.3', sigalgs: 'ecdsa_secp256r1_sha256' })).toBe('ec')
  expect(await serverKey({})).toBe('ec')
})

test('no session is resumed: a resumed one hides intermediates', async () => {
  const { port, served } = await start()
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const options = { minVersion: version, maxVersion: version, cert: device.chain, key: device.key }
    const first = await client(port, options)
    const session = first.getSession()!
    first.end()
    const second = await client(port, { ...options, session })
    expect(second.isSessionReused()).toBe(false)
    expect(served.at(-1)?.peer.chain).toHaveLength(3)
  }
})

test('openssl: a client certificate is asked for, and no CA names are sent', async () => {
  const { port } = await start()
  const file = join(mkdtempSync(join(tmpdir(), 'muster-')), 'ca.pem')
  writeFileSync(file, ca.certificate)
  for (const version of ['-tls1_2', '-tls1_3']) {
    const asked = run('openssl', [
      's_client',
      '-connect',
      `127.0.0.1:${port}`,
      '-CAfile',
      file,
      '-verify_return_error',
      version,
    ])
    asked.child.stdin?.end()
    const { stdout } = await asked
    expect(stdout).toContain('No client certificate CA names sent')
    expect(stdout).toMatch(/Requested Signature Algorithms|Client Certificate Types/)
    expect(stdout).toMatch(/Verify return code: 0|Verification: OK/)
  }
})

test('TLS 1.1 is refused', async () => {
  const { port } = await start()
  await expect(
    client(port, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
  ).rejects.toThrow()
})

const hasIPv6 = Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === '::1'))

test.skipIf(!hasIPv6)('an IPv4 peer of a dual-stack listener keeps its own form', async () => {
  const { port, served } = await start({ address: '::' })
  await client(port)
  expect(served[0]?.peer.address).toBe('127.0.0.1')
})

test('new server certificates are used for new connections, old ones go on', async () => {
  const { port, reload } = await start()
  const before = await client(port)
  const oldCa = ca
  reload(await material('second'))
  const after = await client(port)
  expect(after.getPeerX509Certificate()?.issuer).toContain('second')
  expect(before.destroyed).toBe(false)
  const rsa = await client(port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' })
  expect(rsa.getPeerX509Certificate()?.issuer).toContain('second')
  await expect(client(port, { ca: oldCa.certificate })).rejects.toThrow()
  tls = await material('third')
})

test('who does not finish the handshake in time is cut', async () => {
  const clock = new TestClock()
  const { port } = await start({ clock })
  const silent = tcp(port)
  await once(silent, 'connect')
  const half = tcp(port)
  // The beginning of a ClientHello record.
  half.write(Buffer.from('160301020001000200', 'hex'))
  const honest = await client(port)
  clock.advance(limits.handshakeMs)
  await closed(silent)
  await closed(half)
  expect(honest.destroyed).toBe(false)
})

test('who does not prove who it is in time is cut; who did stays', async () => {
  const clock = new TestClock()
  const { port, served } = await start({ clock })
  const stranger = await client(port)
  const known = await client(port)
  served[1]!.peer.proved()
  served[1]!.peer.proved()
  clock.advance(limits.proveMs)
  await closed(stranger)
  expect(known.destroyed).toBe(false)
})

test('a handshake that fails closes, and the next one works', async () => {
  const { port } = await start()
  const wrong = tcp(port)
  wrong.write('GET / HTTP/1.1\r\n\r\n')
  await closed(wrong)
  await client(port)
})

test('a source over its ceiling waits until one of it has proved itself, or too long', async () => {
  const clock = new TestClock()
  const { port, served } = await start({ clock })
  await client(port)
  const silent = Array.from({ length: limits.unprovedConnectionsPerSource - 1 }, () => tcp(port))
  await Promise.all(silent.map((socket) => once(socket, 'connect')))
  /** Another source, which is not concerned; it is accepted after all that came before it. */
  const others = async (): Promise<void> => {
    const other = client(port, { socket: tcp(port, '127.0.0.2') })
    const turns = setInterval(() => clock.advance(0), 1)
    await other.finally(() => clearInterval(turns))
    for (let begun = 0; begun < limits.unprovedConnectionsPerSource; begun++) clock.advance(0)
  }
  await others()
  const late = client(port)
  await others()
  expect(served).toHaveLength(3)
  served[0]!.peer.proved()
  await late
  const tooLate = tcp(port)
  tooLate.write('what it says is not read')
  await once(tooLate, 'connect')
  await others()
  clock.advance(limits.waitingMs)
  await closed(tooLate)
  expect(served).toHaveLength(5)
})

test('errors of a connection are never unhandled, before the handshake, after it, and after the end', async () => {
  const { port, served } = await start()
  const raw = tcp(port)
  await once(raw, 'connect')
  raw.resetAndDestroy()
  const under = tcp(port)
  await client(port, { socket: under })
  const serverSide = served[0]!.socket
  under.resetAndDestroy()
  await closed(serverSide)
  serverSide.emit('error', new Error('late'))
  await client(port)
})

test('close stops accepting, cuts strangers at once and the others after the grace', async () => {
  const clock = new TestClock()
  const { port, served, close } = await start({ clock })
  const known = await client(port)
  served[0]!.peer.proved()
  const stranger = await client(port)
  const silent = tcp(port)
  await once(silent, 'connect')
  let done = false
  const closing = close().then(() => {
    done = true
  })
  await closed(stranger)
  await closed(silent)
  await expect(client(port)).rejects.toThrow('ECONNREFUSED')
  expect(known.destroyed).toBe(false)
  expect(done).toBe(false)
  clock.advance(limits.closeGraceMs)
  await closed(known)
  await closing
})

test('close cuts those that wait for a place as well', async () => {
  const { port, close } = await start({ clock: new TestClock() })
  const strangers = Array.from({ length: 3 * limits.handshakesPerTurn }, () => tcp(port))
  await Promise.all(strangers.map((socket) => once(socket, 'connect')))
  await close()
  await Promise.all(strangers.map(closed))
})

test('close is done as soon as everybody has left', async () => {
  const { port, served, close } = await start({ clock: new TestClock() })
  const known = await client(port)
  served[0]!.peer.proved()
  const closing = close()
  known.end()
  await closing
})

test('a taken port is told with what to do', async () => {
  const taken = createTcpServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  await expect(start({ port })).rejects.toThrow(
    `127.0.0.1 port ${port} is in use by another program. Stop that program or choose another port; 0 takes any free one.`,
  )
  taken.close()
})

test('a port that needs a right is told with what to do', async () => {
  const listening = vi.spyOn(TcpServer.prototype, 'listen').mockImplementationOnce(function (this: TcpServer) {
    const refused = Object.assign(new Error('listen EACCES: permission denied'), { code: 'EACCES' })
    process.nextTick(() => this.emit('error', refused))
    return this
  })
  const failure = expect(start({ port: 443 })).rejects
  await failure.toThrow('This user may not listen on 127.0.0.1 port 443. Allow ports below 1024 with "sudo sysctl')
  listening.mockRestore()
})

test('an address that is not ours is told with what to do', async () => {
  await expect(start({ address: '192.0.2.1' })).rejects.toThrow('192.0.2.1 is not an address of this machine.')
})

test('several listeners share a port', async () => {
  const first = await start({ reusePort: true })
  const second = await start({ reusePort: true, port: first.port })
  await Promise.all(Array.from({ length: 40 }, () => client(first.port)))
  expect(first.served.length + second.served.length).toBe(40)
  expect(first.served.length).toBeGreaterThan(0)
  expect(second.served.length).toBeGreaterThan(0)
})

/** An HTTP server that takes its connections from a listener, as the HTTP endpoint does. */
async function startHttp() {
  const http = createHttpServer(
    { keepAliveTimeout: 200, headersTimeout: 300, requestTimeout: 300, connectionsCheckingInterval: 50 },
    (request, response) => {
      const peer = peerOf(request.socket)
      peer?.proved()
      response.end(JSON.stringify({ chain: peer?.chain.length, encrypted: 'encrypted' in request.socket }))
    },
  )
  // Node starts the sweep that enforces the time-outs on 'listening', which never happens here by itself.
  http.emit('listening')
  const listening = await start({ serve: (socket) => void http.emit('connection', socket) })
  return { ...listening, http }
}

/** Sends one GET and resolves with the whole answer. */
async function get(socket: TLSSocket): Promise<string> {
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  let answer = ''
  while (!answer.endsWith('}')) answer += ((await once(socket, 'data')) as [Buffer])[0].toString()
  return answer
}

test('HTTP: the chain is there for every request of a connection, which is closed when idle', async () => {
  const { port, http } = await startHttp()
  const cert = device.certificate + deviceCa.certificate
  const socket = trusting({ socket: tcp(port), cert, key: device.key })
  for (let request = 0; request < 3; request++) expect(await get(socket)).toContain('{"chain":2,"encrypted":true}')
  await closed(socket)
  http.close()
})

test('HTTP: a request that is not sent in time is answered with 408 and closed; a reset is not unhandled', async () => {
  const { port, http } = await startHttp()
  const slow = trusting({ socket: tcp(port) })
  slow.write('GET / HTTP/1.1\r\nHost: x\r\n')
  const [answer] = (await once(slow, 'data')) as [Buffer]
  expect(answer.toString()).toContain('408 Request Timeout')
  await closed(slow)

  const under = tcp(port)
  const broken = trusting({ socket: under })
  broken.on('error', () => undefined)
  await once(broken, 'secureConnect')
  broken.write('GET / HTTP/1.1\r\n')
  under.resetAndDestroy()
  expect(await get(trusting({ socket: tcp(port) }))).toContain('200 OK')
  http.close()
})
