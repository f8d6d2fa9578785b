# Completion of imagewatch for bash; copy it to /usr/share/bash-completion/completions/imagewatch or source it.

_imagewatch_runtimes() {
  local runtimes=${IMAGEWATCH_RUNTIMES:-claude-code,langgraph,crewai,autogen,deepagents,hermes,gemini-cli,openclaw}
  [[ $runtimes == none ]] || printf '%s\n' "${runtimes//,/ }"
}

# Containers, and the references that they follow. A reference has a slash. compgen expands words, so only plain ones
# go on.
_imagewatch_names() {
  { imagewatch names 2>/dev/null || docker ps -a --format '{{.Names}}' 2>/dev/null; } | grep -x '[A-Za-z0-9_./:-]*'
}

_imagewatch() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]-}
  local offered='' fitting='' one given
  if ((COMP_CWORD == 1)); then
    offered='serve check refresh plan names healthcheck rollback hold release skip help -h --help -V --version'
  elif [[ $command == refresh && $before == --runtime ]]; then
    offered=$(_imagewatch_runtimes)
  elif [[ $command != hold || $before != --for ]]; then
    case $command in
      check) fitting='--json' ;;
      plan) fitting='--full --json' ;;
      release) fitting='--json' ;;
      rollback) fitting='--only --json' ;;
      hold) fitting='--for --json' ;;
      skip) fitting='--undo --json' ;;
      help) ((COMP_CWORD > 2)) || offered='check refresh plan names healthcheck rollback hold release skip serve' ;;
      refresh)
        fitting='--no-recreate --force --pull --dry-run --json'
        offered="--runtime $(_imagewatch_runtimes)"
        ;;
    esac
    # Only the words of one kind, and no names where an option is begun.
    [[ $word == -* ]] || case $command in
      plan | release | rollback | hold) offered+=" $(_imagewatch_names | grep -v /)" ;;
      skip) offered+=" $(_imagewatch_names | grep /)" ;;
      refresh) offered+=" $(_imagewatch_names)" ;;
    esac
    [[ ' check refresh plan rollback hold release skip ' != *" $command "* ]] || fitting+=' --help'
    # What was given already is not offered again.
    given=" ${COMP_WORDS[*]:2:COMP_CWORD-2} "
    for one in $fitting; do
      [[ $given == *" $one "* ]] || offered+=" $one"
    done
  fi
  # Every word offered is a plain one.
  # shellcheck disable=SC2207
  COMPREPLY=($(compgen -W "$offered" -- "$word"))
  # A colon begins a new word, unless the user changed COMP_WORDBREAKS.
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$word"; fi
}

complete -F _imagewatch imagewatch
