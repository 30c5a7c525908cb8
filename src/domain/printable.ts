/**
 * Characters that a terminal obeys, or that hide or turn around what stands beside them: controls, formats (nobody sees
 * them, and some change the direction), line separators, halves of a character.
 */
const OBEYED = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * Text as it may reach a terminal: what came from a file, a queue or a database is seen and not obeyed. Line feeds stay,
 * and JSON means the same afterwards.
 */
export function printable(text: string): string {
  return text.replace(OBEYED, (character) => (character === '\n' ? character : escapeCharacter(character)));
}

/** Text that is a part of one line. */
export function printableLine(text: string): string {
  return text.replace(OBEYED, escapeCharacter);
}

/** As `\u001b`, in JSON's notation. */
function escapeCharacter(character: string): string {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}
