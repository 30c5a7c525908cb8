import { execFileSync } from 'node:child_process';

/** The processes that the tests start run what is built. Types are not checked here, which takes longer than building. */
export function setup(): void {
  execFileSync('npm', ['run', '--silent', 'build', '--', '--noCheck'], { stdio: 'inherit' });
}
