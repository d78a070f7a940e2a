import { Link } from '@tanstack/react-router';

export function HomePage() {
  return <Link to="/runs">Runs</Link>;
}
