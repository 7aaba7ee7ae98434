// What a request costs when nothing is done: Node's own HTTPS server with the same certificates and TLS options, in a
// process of its own. `node bench/bare-server.ts <data folder> <port>`; prints its port once it listens.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { presentedChainOptions } from '../src/wire/tls-options.ts'

const [folder = '.', port = '0'] = process.argv.slice(2)
const pem = (name: string): string => readFileSync(join(folder, name), 'utf8')
const body = JSON.stringify({ ok: true })
const server = createServer(
  {
    ...presentedChainOptions,
    cert: [pem('server-ec.pem'), pem('server-rsa.pem')],
    key: [pem('server-ec.key.pem'), pem('server-rsa.key.pem')],
  },
  (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length })
    response.end(body)
  },
)
server.listen(Number(port), '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
})
