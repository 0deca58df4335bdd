/**
 * Called between the small steps of long work (a key, a message, a record): it may hold the thread for a moment, so that others have the
 * processor. What runs in a thread that answers nobody is given one.
 */
export type GiveWay = () => void;

export const goOn: GiveWay = () => undefined;
