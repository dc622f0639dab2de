/** Most applications have no tenants: theirs is the schema "public", and goes without saying. */
export function exceptPublic<T extends { tenant?: string | null }>({ tenant, ...rest }: T): T {
  return (tenant === 'public' ? rest : { ...rest, tenant }) as T;
}
