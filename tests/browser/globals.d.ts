// What browsers have and TypeScript's own types don't, yet or at all.

interface Window {
  Shopify?: any;
  dataLayer?: object[];
  navigation?: { addEventListener(type: 'navigate', listener: (event: any) => void): void };
}

interface Navigator {
  connection?: { saveData?: boolean; effectiveType?: string };
  getBattery?(): Promise<{ charging: boolean; level: number }>;
}

interface Document {
  prerendering?: boolean;
}

/** Listeners on the document hear from elements. */
interface EventTarget {
  closest?(selectors: string): Element | null;
}
