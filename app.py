"""The launcher of the explorer. ``python app.py --help`` lists its options; the program is app/."""

from app.server import main

if __name__ == "__main__":
    main()
