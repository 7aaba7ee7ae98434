import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const suite = join(import.meta.dirname, '..', 'sdk-python')

/** Whether this machine can make a Python environment; without, the Python suite has nothing to run on. */
export const hasPython = (): boolean => spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0

/** The interpreter of an environment with the SDK, made once per machine; in it pip installs what requirements.txt pins. */
export function pythonWithSdk(): string {
  const folder = join(tmpdir(), 'muster-azure-iot-device-2.14.0')
  const python = join(folder, 'bin', 'python')
  if (!existsSync(python)) execFileSync('python3', ['-m', 'venv', folder])
  const requirements = join(suite, 'requirements.txt')
  execFileSync(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements])
  return python
}

/** Runs `device.py` with one JSON object; `caFile` is all that it trusts. */
export function runDevice(python: string, caFile: string, device: object): Promise<Record<string, unknown>> {
  const env = { PATH: process.env['PATH'], SSL_CERT_FILE: caFile }
  return new Promise((resolve, reject) => {
    const child = execFile(python, [join(suite, 'device.py')], { env, timeout: 120_000 }, (error, stdout, stderr) => {
      if (error) return reject(new Error(`${error.message}\n${stderr}`))
      resolve(JSON.parse(stdout) as Record<string, unknown>)
    })
    child.stdin?.end(JSON.stringify(device))
  })
}
