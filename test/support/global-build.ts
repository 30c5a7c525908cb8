import { execFileSync } from 'node:child_process';

/** The processes that the tests start run what is built. */
export function setup(): void {
  execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' });
}
