import { parseCertificate } from '../src/crypto/certificates.ts'
import { validateChain } from '../src/crypto/chains.ts'
import { authority, device, ecKeys, type Keys, NOW, type Party, rsaKeys } from '../tests/certificates.ts'

/**
 * Chain validations per second on one core, as a registration costs them: bytes in, verdict out, every leaf new.
 *   npx node bench/chains.ts
 */
const ROUNDS = 5

export interface ChainFigure {
  readonly what: string
  /** Validations per second of CPU time, the median of the rounds. */
  readonly perSecondPerCore: number
  readonly slowest: number
  readonly fastest: number
}

interface Scenario {
  readonly title: string
  readonly keys: () => Keys
  /** Fleet: every leaf below the same intermediates. Strangers: each with intermediates of its own. */
  readonly intermediates: 'shared' | 'own'
  readonly leaves: number
  /** Trusted roots beside the right one. */
  readonly otherAnchors: number
}

const scenarios: readonly Scenario[] = [
  {
    title: 'P-256, leaf new, 2 intermediates seen before',
    keys: ecKeys,
    intermediates: 'shared',
    leaves: 2_000,
    otherAnchors: 0,
  },
  {
    title: 'P-256, the same among 400 anchors',
    keys: ecKeys,
    intermediates: 'shared',
    leaves: 2_000,
    otherAnchors: 400,
  },
  { title: 'P-256, leaf and 2 intermediates new', keys: ecKeys, intermediates: 'own', leaves: 1_000, otherAnchors: 0 },
  {
    title: 'RSA-2048, leaf new, 2 intermediates seen before',
    keys: oneRsaKey(),
    intermediates: 'shared',
    leaves: 1_000,
    otherAnchors: 0,
  },
]

/** Making RSA keys is slow and not measured: one pair serves all. */
function oneRsaKey(): () => Keys {
  let keys: Keys | undefined
  return () => {
    keys ??= rsaKeys()
    return keys
  }
}

function chainsOf({ keys, intermediates, leaves }: Scenario, root: Party, round: number): Buffer[][] {
  const leafKeys = keys()
  const between = (): [Party, Party] => {
    const first = authority('intermediate 1', { by: root, keys: keys() })
    return [first, authority('intermediate 2', { by: first, keys: keys() })]
  }
  const shared = between()
  return Array.from({ length: leaves }, (_, at) => {
    const [first, second] = intermediates === 'shared' ? shared : between()
    return [device(`dev-${round}-${at}`, second, { keys: leafKeys }).der, second.der, first.der]
  })
}

function measure(scenario: Scenario): ChainFigure {
  const root = authority('root', { keys: scenario.keys() })
  const others = Array.from({ length: scenario.otherAnchors }, (_, at) => authority(`other root ${at}`))
  const anchors = [...others, root].map(({ der }) => parseCertificate(der))
  const rates = Array.from({ length: ROUNDS }, (_, round) => {
    const chains = chainsOf(scenario, root, round)
    const start = process.cpuUsage()
    for (const [leaf, ...presented] of chains) {
      const verdict = validateChain({
        leaf: parseCertificate(leaf!),
        presented: presented.map((der) => parseCertificate(der)),
        anchors: [...anchors],
        now: NOW,
      })
      if (!verdict.ok) throw new Error(`${verdict.reason}: ${verdict.detail}`)
    }
    const { user, system } = process.cpuUsage(start)
    return chains.length / ((user + system) / 1e6)
  }).sort((a, b) => a - b)
  return {
    what: scenario.title,
    perSecondPerCore: Math.round(rates[Math.floor(ROUNDS / 2)]!),
    slowest: Math.round(rates[0]!),
    fastest: Math.round(rates.at(-1)!),
  }
}

export const benchChains = (): readonly ChainFigure[] => scenarios.map(measure)

if (import.meta.main) console.table(benchChains())
