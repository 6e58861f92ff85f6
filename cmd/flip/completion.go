package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The scripts ask flip itself, through the hidden flag, what may come next.
const (
	bashCompletion = `# flip completion for bash: source <(flip completion bash)
_flip_complete() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words
  local -a line=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ "$cur" == -* ]] && line+=("$cur")
  words=$("${line[@]}" --generate-bash-completion 2>/dev/null)
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _flip_complete flip
`
	zshCompletion = `#compdef flip
# flip completion for zsh: source <(flip completion zsh)
_flip_complete() {
  local -a line opts
  line=("${words[@]:0:$((CURRENT - 1))}")
  [[ "${words[CURRENT]}" == -* ]] && line+=("${words[CURRENT]}")
  opts=("${(@f)$(_CLI_ZSH_AUTOCOMPLETE_HACK=1 "${line[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n "${opts[1]}" ]]; then _describe 'flip' opts; else _files; fi
}
compdef _flip_complete flip
`
)

func completionCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "completion of commands and flags for a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `Examples:
  source <(flip completion bash)
  source <(flip completion zsh)
  flip completion fish >~/.config/fish/completions/flip.fish`,
		BashComplete: func(*cli.Context) { _, _ = fmt.Fprintln(a.Stdout, "bash\nzsh\nfish") },
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				s, err := c.App.ToFishCompletion()
				if err != nil {
					return fmt.Errorf("write completion: %w", err)
				}
				script = s
			default:
				return &usageError{what: "completion for which shell?", hint: "flip completion bash|zsh|fish"}
			}
			_, err := fmt.Fprint(a.Stdout, script)
			return err
		},
	}
}
