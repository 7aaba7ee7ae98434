/**
 * Every figure of the README's quality claims in one go: `npm run bench [devices]`. Compare ratios inside one run;
 * absolute numbers are this machine's, at this moment.
 */
import { benchChains } from './chains.ts'
import { benchMetrics } from './metrics.ts'
import { benchRegistrations } from './registrations.ts'
import { benchStore } from './store.ts'

const show = (title: string, figures: unknown): void => {
  process.stdout.write(`\n== ${title}\n${JSON.stringify(figures, null, 2)}\n`)
}

show('chain validations per second and core', benchChains())
show('what counting costs', await benchMetrics(15))
show('store commits', await benchStore(2))
show('registrations', await benchRegistrations(Number(process.argv[2] ?? 1_000)))
