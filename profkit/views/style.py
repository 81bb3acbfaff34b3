"""What do our pages look like: the style sheet of summaries and reports, from the palette.

Every rule is scoped to `.pk`. JupyterLab's and VS Code's theme variables are followed; elsewhere the
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

# `.pk.pk` outweighs what JupyterLab says of tables in outputs.
_RULES: Final = """
.pk{color:var(--jp-content-font-color1,var(--vscode-editor-foreground,var(--pk-ink)));
background:var(--jp-layout-color0,var(--vscode-editor-background,var(--pk-page)));
font:13px/1.45 var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",sans-serif);
padding:4px 8px;max-width:1080px;overflow-x:auto}
.pk.pk p{margin:0 0 8px}
.pk-title strong{font-size:1.25em;margin-right:.6em}
.pk-title span,.pk small,.pk caption,.pk.pk thead th,.pk.pk .pk-figures th{color:var(--pk-soft)}
.pk.pk .pk-sentence{font-size:1.12em;margin-bottom:14px}
.pk-error{border-left:4px solid var(--pk-error);padding:4px 10px}
.pk code{font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);font-size:.95em;
background:none;color:inherit;padding:0;overflow-wrap:anywhere}
.pk.pk table{border-collapse:collapse;border:0;margin:0 0 14px;font-size:1em;table-layout:auto;width:auto}
.pk.pk caption{caption-side:top;text-align:left;font-weight:600;padding:2px 0 4px;color:inherit}
.pk.pk tr,.pk.pk tr:hover,.pk.pk tr:nth-child(n){background:none;border:0}
.pk.pk th,.pk.pk td{border:0;padding:3px 16px 3px 0;text-align:left;vertical-align:baseline;font-weight:400;
max-width:none;white-space:normal}
.pk.pk thead th{border-bottom:1px solid var(--pk-rule);font-size:.92em}
.pk.pk .pk-n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.pk.pk .pk-figures,.pk.pk .pk-legend{display:block}
.pk.pk .pk-figures tbody,.pk.pk .pk-legend tbody{display:grid;gap:8px 20px;
grid-template-columns:repeat(auto-fill,minmax(10.6em,1fr))}
.pk.pk .pk-figures tr{display:flex;flex-direction:column;
border-left:2px solid var(--pk-rule);padding-left:9px}
.pk.pk .pk-figures th,.pk.pk .pk-figures td{padding:0;font-size:.92em}
.pk.pk .pk-figures td b{display:block;font-size:1.38em;font-weight:600;line-height:1.3;
font-variant-numeric:tabular-nums}
.pk.pk .pk-legend caption{display:block}
.pk.pk .pk-legend tbody{gap:1px 24px;grid-template-columns:repeat(auto-fill,minmax(23em,1fr))}
.pk.pk .pk-legend tr{display:flex}.pk.pk .pk-legend th{flex:1}
.pk.pk .pk-legend th{padding-right:8px}
.pk.pk .pk-legend td{padding:3px 0;width:4.7em}
.pk.pk .pk-top{width:100%}
.pk-bar{display:flex;height:26px;margin:0 0 10px;gap:1px;border-radius:3px;overflow:hidden}
.pk-bar span,.pk-chip{background:var(--pk-c);forced-color-adjust:none;print-color-adjust:exact}
.pk-bar span{min-width:1px}
.pk-chip{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.55em}
.pk-bar .pk-idle,.pk-chip.pk-idle{
background:repeating-linear-gradient(135deg,var(--pk-c) 0 2px,transparent 2px 5px);
box-shadow:inset 0 0 0 1px var(--pk-c)}
.pk.pk ul{margin:0 0 12px;padding-left:1.3em}
.pk a{color:var(--jp-content-link-color,var(--pk-matmul))}
"""


def css() -> str:
    """The style sheet, without its tags."""
    light = ";".join(f"{name}:{colour.light}" for name, colour in _COLOURS.items())
    dark = ";".join(f"{name}:{colour.dark}" for name, colour in _COLOURS.items())
    chips = "".join(f".pk-k-{name}{{--pk-c:var(--pk-{name})}}" for name in (*palette.WORK, *palette.IDLE))
    return (
        f".pk{{{light}}}\n"
        f"@media(prefers-color-scheme:dark){{html:not([theme]) body:not([data-jp-theme-light],.vscode-light) "
        f".pk{{{dark}}}}}\n"
        f'[data-jp-theme-light="false"] .pk,.vscode-dark .pk,html[theme=dark] .pk{{{dark}}}\n'
        f"{chips}{_RULES}"
    )
