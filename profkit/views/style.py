"""What do our pages look like: the style sheet of summaries and reports, from the palette.

Every rule is scoped to `.pk-s`. JupyterLab's and VS Code's theme variables are followed; elsewhere the
reader's preference for dark pages is.
"""

from __future__ import annotations

from typing import Final

from profkit.views import palette
from profkit.views.palette import Colour

_COLOURS: Final[dict[str, Colour]] = {
    **{f"--pk-{kind}": colour for kind, colour in palette.WORK.items()},
    **{f"--pk-{cause}": colour for cause, colour in palette.IDLE.items()},
    "--pk-ink": palette.TEXT,
    "--pk-soft": palette.FAINT,
    "--pk-rule": palette.GRID,
    "--pk-error": palette.ERROR,
    "--pk-page": palette.BACKGROUND,
}

# `.pk-s.pk-s` outweighs what JupyterLab says of tables in outputs.
_RULES: Final = """
.pk-s{color:var(--jp-content-font-color1,var(--vscode-editor-foreground,var(--pk-ink)));
background:var(--jp-layout-color0,var(--vscode-editor-background,var(--pk-page)));
font:13px/1.45 var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",sans-serif);
padding:4px 8px;max-width:1080px;overflow-x:auto;overflow-wrap:break-word;container-type:inline-size}
.pk-s.pk-s p{margin:0 0 8px}
.pk-s-title strong{font-size:1.25em;margin-right:.6em}
.pk-s-title span,.pk-s small,.pk-s caption,.pk-s.pk-s thead th,.pk-s.pk-s .pk-s-figures th{color:var(--pk-soft)}
.pk-s.pk-s .pk-s-sentence{font-size:1.12em;margin-bottom:14px}
.pk-s-error{border-left:4px solid var(--pk-error);padding:4px 10px}
.pk-s.pk-s.pk-s code{font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);font-size:.95em;
background:none;color:inherit;padding:0;overflow-wrap:anywhere}
.pk-s.pk-s table{border-collapse:collapse;border:0;margin:0 0 14px;font-size:1em;table-layout:auto;width:auto}
.pk-s.pk-s caption{caption-side:top;text-align:left;font-weight:600;padding:2px 0 4px;color:inherit}
.pk-s.pk-s tr,.pk-s.pk-s tr:hover,.pk-s.pk-s tr:nth-child(n){background:none;border:0;padding:0}
.pk-s.pk-s th,.pk-s.pk-s td{border:0;padding:3px 16px 3px 0;text-align:left;vertical-align:baseline;font-weight:400;
max-width:none;white-space:normal}
.pk-s.pk-s thead th{border-bottom:1px solid var(--pk-rule);font-size:.92em}
.pk-s.pk-s .pk-s-n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.pk-s.pk-s .pk-s-figures,.pk-s.pk-s .pk-s-legend{display:block}
.pk-s.pk-s .pk-s-figures tbody,.pk-s.pk-s .pk-s-legend tbody{display:grid;gap:8px 20px;
grid-template-columns:repeat(2,1fr)}
@container(min-width:36em){.pk-s.pk-s .pk-s-figures tbody{grid-template-columns:repeat(3,1fr)}}
@container(min-width:50em){.pk-s.pk-s .pk-s-figures tbody{grid-template-columns:repeat(4,1fr)}}
@container(min-width:72em){.pk-s.pk-s .pk-s-figures tbody{grid-template-columns:repeat(6,1fr)}}
.pk-s.pk-s .pk-s-figures tr{display:flex;flex-direction:column;
border-left:2px solid var(--pk-rule);padding:0 0 0 9px}
.pk-s.pk-s .pk-s-figures th,.pk-s.pk-s .pk-s-figures td{padding:0;font-size:.92em}
.pk-s.pk-s .pk-s-figures td b{display:block;font-size:1.38em;font-weight:600;line-height:1.3;
font-variant-numeric:tabular-nums}
.pk-s.pk-s .pk-s-legend caption{display:block}
.pk-s.pk-s .pk-s-legend tbody{gap:1px 24px;grid-template-columns:repeat(auto-fill,minmax(23em,1fr))}
.pk-s.pk-s .pk-s-legend tr{display:flex}.pk-s.pk-s .pk-s-legend th{flex:1}
.pk-s.pk-s .pk-s-legend th{padding-right:8px}
.pk-s.pk-s .pk-s-legend td{padding:3px 0;width:4.7em}
.pk-s.pk-s .pk-s-top{width:100%}
.pk-s.pk-s .pk-s-top td:first-child{white-space:nowrap}.pk-s.pk-s .pk-s-top td:nth-child(2){min-width:15em}
.pk-s-bar{display:flex;height:26px;margin:0 0 10px;gap:1px;border-radius:3px;overflow:hidden}
.pk-s-bar span,.pk-s-chip{background:var(--pk-c);forced-color-adjust:none;print-color-adjust:exact}
.pk-s-bar span{min-width:1px}
.pk-s-chip{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.55em}
.pk-s-bar .pk-s-idle,.pk-s-chip.pk-s-idle{
background:repeating-linear-gradient(135deg,var(--pk-c) 0 2px,transparent 2px 5px);
box-shadow:inset 0 0 0 1px var(--pk-c)}
.pk-s.pk-s ul{margin:0 0 12px;padding-left:1.3em}
.pk-s a{color:var(--jp-content-link-color,var(--pk-matmul))}
"""


def css() -> str:
    """The style sheet, without its tags."""
    light = ";".join(f"{name}:{colour.light}" for name, colour in _COLOURS.items())
    dark = ";".join(f"{name}:{colour.dark}" for name, colour in _COLOURS.items())
    chips = "".join(f".pk-s-k-{name}{{--pk-c:var(--pk-{name})}}" for name in (*palette.WORK, *palette.IDLE))
    return (
        f".pk-s{{{light}}}\n"
        f"@media(prefers-color-scheme:dark){{html:not([theme]) body:not([data-jp-theme-light],.vscode-light) "
        f".pk-s{{{dark}}}}}\n"
        f'[data-jp-theme-light="false"] .pk-s,.vscode-dark .pk-s,html[theme=dark] .pk-s{{{dark}}}\n'
        f"{chips}{_RULES}"
    )
