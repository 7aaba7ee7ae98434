import { describe, expect, test } from 'vitest'
import { loadConfig, settings } from './config.ts'

describe.each(settings)('$name', ({ name }) => {
  const variable = `MUSTER_${name.toUpperCase().replaceAll('-', '_')}`
  // "" as an address binds every one of the machine, and an empty list of hosts means any.
  test.each(['', ' ', ' , '])('is not taken from a variable that was never set: "%s"', (nothing) => {
    const refused = new RegExp(`^${name} is set to nothing`)
    const flags = { host: ['muster.example'] }
    expect(() => loadConfig(undefined, {}, { ...flags, [name]: nothing }, '/')).toThrow(refused)
    expect(() => loadConfig({ [name]: [nothing] }, {}, name === 'host' ? {} : flags, '/')).toThrow(refused)
    expect(() => loadConfig(undefined, { [variable]: nothing }, name === 'host' ? {} : flags, '/')).toThrow(refused)
  })
})
