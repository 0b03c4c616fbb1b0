export const describe = (pathname) => `nothing at ${pathname}`;
