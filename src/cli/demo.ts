import { existsSync } from 'node:fs'
import { type Environment, refused } from './environment.ts'
import type { Register } from './program.ts'

/** The demo is a workspace of its own, because its dependencies are the Azure SDKs: the product stays small. */
const DEMO = new URL('../../demo/demo.ts', import.meta.url)

/** `muster demo`: an ephemeral service, and one device of each kind provisioned through the unmodified Azure SDKs. */
export const demoCommand: Register = (program, environment) => {
  program
    .command('demo')
    .description('start an ephemeral service and provision a device of each kind through the unmodified Azure SDKs')
    .option('--keep', 'keep the folder with its certificates, keys and databases')
    .action((options: { readonly keep?: boolean }) => demo(options, environment))
}

async function demo(options: { readonly keep?: boolean }, environment: Environment): Promise<void> {
  if (!existsSync(DEMO))
    throw refused(
      'Expected the demo workspace beside the program, found none: an installed package leaves it out. ' +
        'Get the sources of this version (git clone), run "npm install" and then "./bin/muster.js demo" there.',
    )
  const { runDemo } = (await load()) as {
    runDemo(options: { readonly keep?: boolean }, environment: Environment): Promise<string | undefined>
  }
  const failure = await runDemo(options, environment)
  if (failure !== undefined) throw refused(failure)
}

async function load(): Promise<unknown> {
  try {
    return await import(DEMO.href)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw refused(
      `Expected the demo’s packages to be installed, found ${(cause as Error).message}. Run "npm install" first.`,
      cause,
    )
  }
}
