// Brings Shopify's customer privacy to the page, which answers whether a visit may be reported. Where neither
// the theme nor a banner brought it, nobody would answer, and the widget would keep all to itself.
document.addEventListener('DOMContentLoaded', () => {
  const { Shopify = {} } = window; // its loader is as late as this script
  const feature = { name: 'consent-tracking-api', version: '0.1' };
  if (!Shopify.customerPrivacy) Shopify.loadFeatures?.([feature], () => {});
});
