# Completion of imagewatch for fish; copy it to ~/.config/fish/completions.

function __imagewatch_runtimes
    set -l runtimes claude-code,langgraph,crewai,autogen,deepagents,hermes,gemini-cli,openclaw
    test -n "$IMAGEWATCH_RUNTIMES"; and set runtimes $IMAGEWATCH_RUNTIMES
    test "$runtimes" = none; or string split , -- $runtimes
end

# Containers, and the references that they follow. A reference has a slash.
function __imagewatch_names
    imagewatch names 2>/dev/null; or docker ps -a --format '{{.Names}}' 2>/dev/null
end

complete -c imagewatch -f
complete -c imagewatch -n __fish_use_subcommand -s h -l help -d 'Show the commands and the variables'
complete -c imagewatch -n __fish_use_subcommand -s V -l version -d 'Show the version'
complete -c imagewatch -n __fish_use_subcommand -a serve -d 'Watch, and serve the admin endpoint'
complete -c imagewatch -n __fish_use_subcommand -a check -d 'Show what runs and what the registries have'
complete -c imagewatch -n __fish_use_subcommand -a refresh -d 'Do one refresh'
complete -c imagewatch -n __fish_use_subcommand -a plan -d 'Show what an update of a container changes'
complete -c imagewatch -n __fish_use_subcommand -a names -d 'List containers and references, for completion'
complete -c imagewatch -n __fish_use_subcommand -a healthcheck -d 'Ask the running server whether it is well'
complete -c imagewatch -n __fish_use_subcommand -a rollback -d 'Put a container back to its earlier image'
complete -c imagewatch -n __fish_use_subcommand -a hold -d 'Leave a container where it is'
complete -c imagewatch -n __fish_use_subcommand -a release -d 'End the hold of a container'
complete -c imagewatch -n __fish_use_subcommand -a skip -d 'Never apply the newest image of a reference'
complete -c imagewatch -n __fish_use_subcommand -a help -d 'Show the commands and the variables'
complete -c imagewatch -n '__fish_seen_subcommand_from check plan refresh rollback hold release skip' -l json -d 'Print JSON'
complete -c imagewatch -n '__fish_seen_subcommand_from plan release rollback hold' -a '(__imagewatch_names | string match -v "*/*")' -d Container
complete -c imagewatch -n '__fish_seen_subcommand_from skip' -a '(__imagewatch_names | string match "*/*")' -d Reference
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -a '(__imagewatch_names)'
complete -c imagewatch -n '__fish_seen_subcommand_from plan' -l full -d 'Show the Engine calls too'
complete -c imagewatch -n '__fish_seen_subcommand_from rollback' -l only -d 'Put only this container back'
complete -c imagewatch -n '__fish_seen_subcommand_from hold' -l for -x -d 'End the hold after this time'
complete -c imagewatch -n '__fish_seen_subcommand_from skip' -l undo -d 'Do not skip the image any more'
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -l no-recreate -d 'Only pull'
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -l force -d 'Recreate also what runs the newest image'
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -l pull -d 'Take also a reference that nobody runs'
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -l dry-run -d 'Only say what would be done'
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -l runtime -x -a '(__imagewatch_runtimes)' -d 'Refresh this runtime'
complete -c imagewatch -n '__fish_seen_subcommand_from refresh' -a '(__imagewatch_runtimes)' -d Runtime
