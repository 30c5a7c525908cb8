import { Command } from 'commander';
import { checkModel } from '../composition.ts';
import { type CommandContext, formatFields } from './context.ts';

export function modelCommand(context: CommandContext): Command {
  const check = new Command('check')
    .description('load the model as a worker does: checksum, shapes, golden sample')
    .option('--json', 'print what it is as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  $ categorizer model check\n  $ MODEL_PATH=new/model.onnx categorizer model check --json',
    )
    .action(async (options: { json?: boolean }) => {
      const model = await checkModel(context.config());
      context.print(
        options.json
          ? JSON.stringify(model)
          : formatFields({
              name: model.name,
              version: model.version,
              sha256: model.sha256,
              width: model.width,
              categories: model.categories.map(({ code }) => code).join(', '),
              checks: 'checksum, shapes and golden sample are right',
            }),
      );
    });
  return new Command('model').description('look at the model').addCommand(check);
}
