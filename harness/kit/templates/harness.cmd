@echo off
rem Runs the harness of this kit, in the kit's folder: file names start from here.
setlocal
cd /d "%~dp0"
if not exist installed\env\Scripts\python.exe (
  echo harness: not installed yet; next: py -$python install.py 1>&2
  exit /b 3
)
set "HARNESS_CACHE=%~dp0installed\cache"
set HF_HUB_OFFLINE=1
installed\env\Scripts\python.exe -I -m harness %*
