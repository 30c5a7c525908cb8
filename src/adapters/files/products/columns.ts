/** Which columns of a table are the id and the features: as the user says, or by name. */
import { CategorizerError } from '../../../domain/errors.ts';

const MAX_SHOWN = 40;
const MAX_COLUMNS = 100_000;

export interface Column {
  readonly name: string;
  /** Whether its values are arrays of numbers. */
  readonly array: boolean;
}

export interface ColumnOptions {
  readonly width: number;
  readonly idColumn?: string;
  readonly featureColumns?: string;
}

/** The names of the columns to read. */
export interface ChosenColumns {
  readonly id: string;
  readonly features: FeatureColumns;
}

/** One column of arrays, or a column for each number, in their order. */
export type FeatureColumns = { readonly array: string } | { readonly each: readonly string[] };

/**
 * @param columns what there is, in the order of the file
 * @throws CategorizerError `INPUT_NOT_READABLE` where a column is missing, `WRONG_WIDTH` where there are more or less than `width`
 */
export function chooseColumns(columns: readonly Column[], options: ColumnOptions): ChosenColumns {
  const id = chooseId(columns, options.idColumn);
  return { id, features: checkWidth(chooseFeatures(columns, options), options.width) };
}

function chooseId(columns: readonly Column[], said: string | undefined): string {
  const wanted = said === undefined ? ['product_id', 'productId'] : [said];
  const id = wanted.find((name) => columns.some((column) => column.name === name));
  if (id === undefined) throw missing(wanted.join(' or '), columns);
  return id;
}

function chooseFeatures(columns: readonly Column[], { width, featureColumns }: ColumnOptions): FeatureColumns {
  if (featureColumns !== undefined) return namedFeatures(columns, featureColumns);
  const numbered = columns.filter(({ name }) => /^f\d+$/.test(name));
  if (numbered.length > 0) return { each: Array.from({ length: numbered.length }, (_, i) => find(columns, `f${i}`)) };
  if (columns.some(({ name, array }) => array && name === 'features')) return { array: 'features' };
  throw missing(`f0 to f${width - 1}, or features with arrays`, columns);
}

function namedFeatures(columns: readonly Column[], said: string): FeatureColumns {
  const range = /^(.*?)(\d+)\.\.(.*?)(\d+)$/.exec(said);
  if (range && range[1] === range[3]) return { each: numberedNames(range).map((name) => find(columns, name)) };
  // A name may hold any of these signs: what there is as it was said is meant so.
  const whole = columns.find(({ name }) => name === said);
  if (whole) return whole.array ? { array: said } : { each: [said] };
  if (said.endsWith('*')) return { each: prefixedNames(columns, said.slice(0, -1)) };
  return { each: said.split(',').map((name) => find(columns, name.trim())) };
}

function numberedNames([, prefix, first, , last]: readonly string[]): string[] {
  const count = Number(last) - Number(first) + 1;
  if (!(count >= 1 && count <= MAX_COLUMNS)) {
    throw new CategorizerError('INPUT_NOT_READABLE', `${prefix}${first}..${prefix}${last} is no range of columns`);
  }
  return Array.from({ length: count }, (_, i) => `${prefix}${String(Number(first) + i).padStart(first.length, '0')}`);
}

/** By their numbers where all end in one (so that f10 comes after f9), else in the order of the file. */
function prefixedNames(columns: readonly Column[], prefix: string): string[] {
  const names = columns.map(({ name }) => name).filter((name) => name.startsWith(prefix));
  if (names.length === 0) throw missing(`${prefix}*`, columns);
  const ends = new Map(names.map((name) => [name, name.slice(prefix.length)]));
  if ([...ends.values()].some((end) => !/^\d+$/.test(end))) return names;
  return names.sort((a, b) => Number(ends.get(a)) - Number(ends.get(b)));
}

/** How long arrays are is seen row by row. */
function checkWidth(features: FeatureColumns, width: number): FeatureColumns {
  if ('array' in features || features.each.length === width) return features;
  const { each } = features;
  const names = each.length > 1 ? `${each[0]} to ${each[each.length - 1]}` : each[0];
  throw new CategorizerError(
    'WRONG_WIDTH',
    `the model expects ${width} feature columns, got ${each.length} (${names})`,
  );
}

function find(columns: readonly Column[], name: string): string {
  if (columns.some((column) => column.name === name)) return name;
  throw missing(name, columns);
}

function missing(wanted: string, columns: readonly Column[]): CategorizerError {
  const names = columns.map(({ name }) => name);
  const shown = names.slice(0, MAX_SHOWN).join(', ') + (names.length > MAX_SHOWN ? ', …' : '');
  return new CategorizerError('INPUT_NOT_READABLE', `no column ${wanted} among: ${shown}`);
}
