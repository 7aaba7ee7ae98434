import { X509Certificate } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import { afterEach, expect, test, vi } from 'vitest'
import { proveChainVisible } from './self-test.ts'

afterEach(() => void vi.restoreAllMocks())

test('this Node shows the whole chain', async () => {
  await expect(proveChainVisible()).resolves.toBeUndefined()
})

test('a Node that shows the leaf alone is refused by name', async () => {
  const original = TLSSocket.prototype.getPeerX509Certificate
  vi.spyOn(TLSSocket.prototype, 'getPeerX509Certificate').mockImplementation(function (this: TLSSocket) {
    // What nodejs/node issue 65579 does: the leaf without its issuers.
    const leaf = original.call(this)
    return leaf && new X509Certificate(leaf.raw)
  })
  await expect(proveChainVisible()).rejects.toThrow(
    `Node ${process.version} cannot be used: its TLS server showed 1 of the 2 certificates`,
  )
})
