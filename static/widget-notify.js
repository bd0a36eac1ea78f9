// Tells a shopper who went to another tab meanwhile, because they asked for it.

/** Asks for leave, and shows on the button what came of it; gives what tells who isn't looking, or null. */
export async function notifier(button, connection, words) {
  button.disabled = true;
  const may = (await Notification.requestPermission()) === 'granted';
  connection.stay = may;
  button.textContent = words.say(may ? 'notify_on' : 'notify_off');
  button.getRootNode().querySelector('[role=status]').textContent = button.textContent;
  if (!may) return null;
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
