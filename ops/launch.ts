/**
 * Flags of Node for a server, as `npm start` and the systemd unit give them, for whoever starts one as they do; a test holds the three equal.
 * The program's code lies in large pages then; where the system has none it does nothing.
 */
export const NODE_FLAGS: readonly string[] = ["--use-largepages=silent"];
