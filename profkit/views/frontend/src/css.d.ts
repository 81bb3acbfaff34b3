// esbuild takes stylesheets out of the script into profile.css.
declare module "*.css";
