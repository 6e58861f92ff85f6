package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The scripts ask flip itself what may stand under the cursor: a word a line, with
// what it means behind a tab. Where there is nothing to offer they offer files.
const (
	bashCompletion = `# flip completion for bash: source <(flip completion bash)
_flip_complete() {
  # COMP_WORDS has names such as fd00::1 in pieces.
  local line="${COMP_LINE:0:COMP_POINT}" current word breaks="" kept=""
  local -a words
  read -ra words <<<"$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  current="${words[${#words[@]} - 1]}"
  # What is in front of the last of these stays as it is.
  [[ "$COMP_WORDBREAKS" == *:* ]] && breaks+=":"
  [[ "$COMP_WORDBREAKS" == *=* ]] && breaks+="="
  [[ -n "$breaks" && "$current" == *[$breaks]* ]] && kept="${current%"${current##*[$breaks]}"}"
  COMPREPLY=()
  while IFS=$'\t' read -r word _; do
    if [[ -n "$word" && "$word" == "$current"* ]]; then
      printf -v word %q "${word#"$kept"}"
      COMPREPLY+=("$word")
    fi
  done < <("${COMP_WORDS[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -o bashdefault -o default -F _flip_complete flip
`
	zshCompletion = `#compdef flip
# flip completion for zsh: source <(flip completion zsh), or as _flip in $fpath
_flip() {
  local line word
  local -a before offered
  before=("${(@Q)words[1,CURRENT-1]}")
  for line in "${(@f)$("$before[1]" __complete "${(@)before[2,-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
    [[ -n "$line" ]] || continue
    word="${${line%%$'\t'*}//:/\\:}"
    [[ "$line" == *$'\t'* ]] && word+=":${line#*$'\t'}"
    offered+=("$word")
  done
  if (( $#offered )); then _describe flip offered; else _files; fi
}
if [[ "$funcstack[1]" == _flip ]]; then _flip "$@"; else compdef _flip flip; fi
`
	fishCompletion = `# flip completion for fish: flip completion fish >~/.config/fish/completions/flip.fish
function __flip_complete
    set -l line (commandline -opc)
    set -l current (commandline -ct)
    set -l program $line[1]
    set -e line[1]
    set -g __flip_words ($program __complete $line "$current" 2>/dev/null)
    test (count $__flip_words) -gt 0
end
complete -c flip -n __flip_complete -f -a '$__flip_words'
`
)

func completionCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "completion of commands, flags and names for a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Prints a script that has the shell ask flip what may come next: commands, flags, and
from a daemon that answers within half a second systems, items and members.

Examples:
  source <(flip completion bash)
  source <(flip completion zsh)
  flip completion fish >~/.config/fish/completions/flip.fish`,
		BashComplete: func(*cli.Context) { a.offer([]string{"bash", "zsh", "fish"}) },
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			script, known := scripts[c.Args().First()]
			if !known {
				return &usageError{what: "completion for which shell?", hint: "flip completion bash|zsh|fish"}
			}
			_, err := fmt.Fprint(a.Stdout, script)
			return err
		},
	}
}
