export const writePage = () => '/tmp/x';
