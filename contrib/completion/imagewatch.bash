# Completion of imagewatch for bash; copy it to /usr/share/bash-completion/completions/imagewatch or source it.

_imagewatch_runtimes() {
  local runtimes=${IMAGEWATCH_RUNTIMES:-claude-code,langgraph,crewai,autogen,deepagents,hermes,gemini-cli,openclaw}
  [[ $runtimes == none ]] || printf '%s\n' "${runtimes//,/ }"
}

_imagewatch() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]-}
  local offered='' fitting='' one given
  if ((COMP_CWORD == 1)); then
    offered='serve check refresh plan healthcheck rollback hold release skip help -h --help -V --version'
  elif [[ $command == refresh && $before == --runtime ]]; then
    offered=$(_imagewatch_runtimes)
  elif [[ $command != hold || $before != --for ]]; then
    case $command in
      check | plan | release) fitting='--json' ;;
      rollback) fitting='--only --json' ;;
      hold) fitting='--for --json' ;;
      skip) fitting='--undo --json' ;;
      refresh)
        fitting='--no-recreate --force --pull --dry-run --json'
        offered="--runtime $(_imagewatch_runtimes)"
        ;;
    esac
    # What was given already is not offered again.
    given=" ${COMP_WORDS[*]:2:COMP_CWORD-2} "
    for one in $fitting; do
      [[ $given == *" $one "* ]] || offered+=" $one"
    done
  fi
  # Every word offered is a plain one.
  # shellcheck disable=SC2207
  COMPREPLY=($(compgen -W "$offered" -- "$word"))
}

complete -F _imagewatch imagewatch
