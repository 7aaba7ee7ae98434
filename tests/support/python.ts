import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DeviceProcess, startDevices } from './device-process.ts'

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

/** Runs `devices.py`; `caFile` is all that it trusts. */
export const startPythonDevices = (python: string, caFile: string): DeviceProcess =>
  startDevices(python, [join(suite, 'devices.py')], { PATH: process.env['PATH'], SSL_CERT_FILE: caFile })
