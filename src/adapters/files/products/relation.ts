/** An input as DuckDB reads it: parts of SQL. Every format is one of these; what comes after is the same for all. */
export interface Relation {
  /** What stands after FROM. */
  readonly from: string;
  /** The product id as VARCHAR; NULL where there is none. */
  readonly id: string;
  /** The features as FLOAT[width]; NULL as a whole, or in places, where they are no numbers. */
  readonly features: string;
}

/** @param columns of `id`, `features` and expressions of them */
export function selectFrom({ from, id, features }: Relation, columns: string): string {
  return `SELECT ${columns} FROM (SELECT ${id} AS id, ${features} AS features FROM ${from})`;
}
