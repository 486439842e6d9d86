# Run in the testbed, as root: makes a request's archives known to apt, and says what is wrong with one.
# Exit 100: the archive is wrong, and so is the request. Exit 1: it could not be reached.
set -eu
export LC_ALL=C
here=/run/testyard-archives
lists=/etc/apt/sources.list.d
mkdir -p "$lists" /etc/apt/keyrings /etc/apt/auth.conf.d
install -o root -g root -m 644 "$here"/*.gpg /etc/apt/keyrings/
install -o root -g root -m 644 "$here"/*.sources "$lists/"
if [ -e "$here/auth.conf" ]; then
    install -o root -g root -m 600 "$here/auth.conf" /etc/apt/auth.conf.d/testyard.conf
fi
rm -rf "$here"
for file in "$lists"/testyard-*.sources; do
    archive=$(sed -n '1s/^# //p' "$file")
    tries=3
    until said=$(apt-get update -o Dir::Etc::SourceList="$file" -o Dir::Etc::SourceParts=- \
        -o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any 2>&1); do
        printf '%s\n' "$said"
        case $said in
            *NO_PUBKEY* | *BADSIG* | *KEYSIG*) why="it is not signed with its key" ;;
            *" 401  "* | *" 403  "*) why="the credentials are missing or wrong" ;;
            *"not have a Release file"*) why="it has nothing for this release" ;;
            *"is not signed"*) why="it is not signed" ;;
            *) why="" ;;
        esac
        if [ -n "$why" ]; then
            echo "testyard: archive $archive cannot be used: $why"
            exit 100
        fi
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            echo "testyard: archive $archive cannot be reached"
            exit 1
        fi
        sleep 5
    done
    printf '%s\n' "$said"
done
