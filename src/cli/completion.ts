import { Argument } from 'commander'
import type { Register } from './program.ts'

/** `muster completion bash|zsh`: the script with which a shell completes commands, options, their values and paths. */
export const completionCommand: Register = (program, environment) => {
  program
    .command('completion')
    .description('print the script with which bash or zsh completes muster’s commands')
    .addArgument(new Argument('<shell>', 'bash or zsh').choices(['bash', 'zsh']))
    .addHelpText(
      'after',
      '\nbash: source <(muster completion bash), in ~/.bashrc\nzsh:  source <(muster completion zsh), in ~/.zshrc',
    )
    .action(async (shell: 'bash' | 'zsh') => {
      const { completionScript } = await import('./completion-script.ts')
      environment.stdout.write(completionScript(program, shell))
    })
}
