// Tells a shopper who went to another tab meanwhile, because they asked for it.

/** Asks for leave; gives a function that says something to who isn't looking, or null without it. */
export async function notifier() {
  if ((await Notification.requestPermission()) !== 'granted') return null;
  return async (body) => {
    if (document.visibilityState === 'visible') return;
    const options = { body, tag: 'warmcut', data: { url: location.href } };
    try {
      const note = new Notification(document.title, options);
      note.onclick = () => {
        window.focus();
        note.close();
      };
    } catch {
      // Browsers on phones notify through a service worker alone: ours, on our pages, or the shop's own.
      const worker = await navigator.serviceWorker?.getRegistration();
      await worker?.showNotification(document.title, options);
    }
  };
}
