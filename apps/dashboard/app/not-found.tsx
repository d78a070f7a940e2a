import { Link } from '@tanstack/react-router';
import { useTitle } from '../parts/title.ts';

export function NotFound() {
  useTitle('Not found');
  return (
    <>
      <h1>This page does not exist</h1>
      <p>
        Check the address, or go to the <Link to="/runs">runs</Link>.
      </p>
    </>
  );
}
