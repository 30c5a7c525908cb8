import { Command } from 'commander';
import { checkModel, type ModelCheck } from '../composition.ts';
import { isSynthetic, type TrainingData, type ValidationScores } from '../domain/category.ts';
import { type CommandContext, formatFields, formatTable } from './context.ts';

export function modelCommand(context: CommandContext): Command {
  const check = new Command('check')
    .description('load the model as a worker does: checksum, shapes, golden sample; and say what it was trained on')
    .option('--json', 'print what it is as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  $ categorizer model check\n  $ MODEL_PATH=new/model.onnx categorizer model check --json',
    )
    .action(async (options: { json?: boolean }) => {
      const checked = await checkModel(context.config());
      context.print(options.json ? JSON.stringify(toJson(checked)) : describeCheck(checked));
    });
  return new Command('model').description('look at the model').addCommand(check);
}

function toJson({ model, categoriesChecked }: ModelCheck): object {
  const { features, ...rest } = model;
  return {
    ...rest,
    synthetic: isSynthetic(model),
    featureStatistics: features !== undefined,
    checks: { checksum: true, shapes: true, goldenLogits: true, goldenCategories: categoriesChecked },
  };
}

function describeCheck({ model, categoriesChecked }: ModelCheck): string {
  const { name, version, sha256, width, space, categories, trainedOn, validation, features } = model;
  const fields = formatFields({
    name,
    version,
    sha256,
    width,
    space,
    categories: categories.map(({ code }) => code).join(', '),
    'trained on': trainedOn
      ? `${describeTraining(trainedOn)}${isSynthetic(model) ? ': it only shows that the path works' : ''}`
      : 'unknown: its manifest does not say',
    accuracy: validation
      ? `${validation.accuracy.toFixed(3)} on ${count(validation.rows, 'row')} that it was not trained on`
      : 'unknown: it was not measured',
    features: features
      ? 'known as they were in training: rows far outside are counted'
      : 'unknown as they were in training: rows far outside are not counted',
    checks: categoriesChecked
      ? 'checksum, shapes and golden sample (logits and category codes) are right'
      : 'checksum, shapes and golden sample (logits) are right; the order of the categories could not be checked: golden.json has no category codes (train the model again)',
  });
  return validation ? `${fields}\n\n${formatScores(validation)}` : fields;
}

function describeTraining({ source, rows, date }: TrainingData): string {
  return [source, ...(rows === undefined ? [] : [count(rows, 'row')]), ...(date === undefined ? [] : [date])].join(
    ', ',
  );
}

function formatScores({ perCategory }: ValidationScores): string {
  const rows = perCategory.map(({ code, precision, recall, support }) => [
    code,
    precision.toFixed(3),
    recall.toFixed(3),
    support.toLocaleString('en-US'),
  ]);
  return formatTable([['category', 'precision', 'recall', 'rows'], ...rows], 1);
}

function count(number: number, noun: string): string {
  return `${number.toLocaleString('en-US')} ${noun}${number === 1 ? '' : 's'}`;
}
